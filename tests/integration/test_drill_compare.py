"""The comparison that `make drill` ends with: nothing where both are equal, a line for each row that is not."""

from __future__ import annotations

from support.servers import Server, query

from bench.drill_compare import compare


def test_each_difference_from_the_twin_is_named_and_rows_are_counted(server: Server, clean_template: str) -> None:
    ours, theirs = server.create_database(clean_template), server.create_database(clean_template)
    equal, counted = compare(ours, theirs, migration_left=0, archived=set())
    assert equal == []
    assert counted["posts"] > 300
    assert all(counted.values())

    superuser = {**ours, "user": "supabase_admin"}
    ((edited,),) = query(superuser, "UPDATE public.posts SET content = 'other' WHERE id = (SELECT id FROM public.posts"
                         " ORDER BY id LIMIT 1) RETURNING id::text")  # fmt: skip
    ((gone,),) = query(superuser, "DELETE FROM public.playlist_tracks WHERE id = (SELECT id FROM public.playlist_tracks"
                       " ORDER BY id LIMIT 1) RETURNING id::text")  # fmt: skip
    found, _ = compare(ours, theirs, migration_left=0, archived=set())
    assert [line.split(":")[0] for line in found] == [f"posts {edited}", f"playlist_tracks {gone}"]
    archived, _ = compare(ours, theirs, migration_left=0, archived={gone})
    assert [line.split(":")[0] for line in archived] == [f"posts {edited}"]
