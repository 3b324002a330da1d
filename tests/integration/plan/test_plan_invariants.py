"""The invariants after a load: they hold after a migration, and each can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from bursts import broken, superuser
from plan_sql import VERSIONS, apply
from support.servers import Server, connect, query

from bench import invariants


@pytest.fixture(scope="module")
def migrated(server: Server, clean_template: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A template database after the migration without any load, and what was kept before it."""
    options = server.create_database(clean_template)
    kept = tmp_path_factory.mktemp("before")
    invariants.before(superuser(options), kept)
    for version in VERSIONS:
        apply(options, version)
        query(options, "INSERT INTO supabase_migrations.schema_migrations (version) VALUES (%s)", (version,))
    return str(options["dbname"]), kept


#: Each breaks one invariant; triggers and keys are off, or they would not let it.
MUTATIONS = {
    "no_orphan_on_any_foreign_key": "DELETE FROM auth.users WHERE id = (SELECT user_id FROM public.tracks LIMIT 1)",
    "untouched_posts_unchanged": "UPDATE public.posts SET updated_at = now() WHERE content LIKE '%#1'",
    "no_post_from_nowhere": """
        INSERT INTO public.posts (user_id, content) SELECT user_id, 'new' FROM public.posts LIMIT 1""",
    "library_tracks_unchanged": "UPDATE public.tracks SET play_count = 7 WHERE title LIKE 'Library song %'",
    "every_audio_post_has_its_track": """
        UPDATE public.posts AS p
        SET track_id = (SELECT t.id FROM public.tracks AS t WHERE t.user_id <> p.user_id LIMIT 1)
        WHERE id = (SELECT id FROM public.posts WHERE post_type = 'audio' LIMIT 1)""",
    "tracks_tell_what_their_posts_tell": """
        UPDATE public.tracks SET description = 'else'
        WHERE id = (SELECT id FROM public.posts WHERE track_id = id LIMIT 1)""",
    "one_made_track_per_file": """
        INSERT INTO public.tracks (user_id, title, file_url)
        SELECT user_id, title, file_url FROM public.tracks LIMIT 1""",
    "every_made_track_is_used": """
        INSERT INTO public.tracks (user_id, title, file_url)
        SELECT id, 'x', 'https://cdn.example.org/x' FROM auth.users LIMIT 1""",
    "entries_point_at_tracks_once": """
        UPDATE public.playlist_tracks SET track_id = gen_random_uuid()
        WHERE id = (SELECT id FROM public.playlist_tracks LIMIT 1)""",
    "entries_play_their_post": """
        UPDATE public.playlist_tracks AS e
        SET track_id = (
            SELECT t.id FROM public.tracks AS t
            WHERE NOT EXISTS (
                SELECT FROM public.playlist_tracks AS o WHERE o.playlist_id = e.playlist_id AND o.track_id = t.id
            )
            LIMIT 1
        )
        WHERE id = (SELECT id FROM public.playlist_tracks LIMIT 1)""",
    "entries_lost_without_archive": """
        DELETE FROM public.playlist_tracks WHERE id = (SELECT id FROM public.playlist_tracks LIMIT 1)""",
}


def test_the_invariants_hold_after_a_migration(server: Server, migrated: tuple[str, Path]) -> None:
    template, kept = migrated
    options = server.create_database(template)
    found = invariants.after(superuser(options), kept, [])
    assert {result["name"] for result in found} == set(MUTATIONS), "an invariant without a mutation, or the reverse"
    assert [result for result in found if result["wrong"]] == []
    assert all(result["rows_examined"] > 0 for result in found if result["name"] != "every_made_track_is_used")
    server.drop_database(options)


@pytest.mark.parametrize("name", MUTATIONS)
def test_an_invariant_fails_when_its_rows_are_wrong(server: Server, migrated: tuple[str, Path], name: str) -> None:
    template, kept = migrated
    options = server.create_database(template)
    with connect(superuser(options)) as session, session.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(MUTATIONS[name])
        assert cursor.rowcount > 0, "the mutation changed nothing"

    wrong = broken(options, kept)

    assert name in wrong
    assert wrong[name]["examples"]
    server.drop_database(options)
