"""The generated rows look like real life, are the same for the same seed, and hold together."""

from __future__ import annotations

import pytest
from support.servers import Options, connect, load_demo, query, value

AUDIO_POSTS = 2000

FINGERPRINT = """
SELECT count(*), sum(hashtextextended(row::text, 0)::numeric)
FROM {} AS row
"""


@pytest.fixture(scope="module")
def demo(server) -> Options:
    options = server.create_database()
    load_demo(options, audio_posts=AUDIO_POSTS)
    yield options
    server.drop_database(options)


def fingerprints(options: Options) -> dict[str, tuple]:
    tables = [
        "auth.users",
        "public.profiles",
        "public.posts",
        "public.comments",
        "public.tracks",
        "public.playlists",
        "public.playlist_tracks",
        "moderation.reported_posts",
        "moderation.featured_playlists",
    ]
    with connect(options, options="-c TimeZone=UTC") as connection, connection.cursor() as cursor:
        found = {}
        for table in tables:
            cursor.execute(FINGERPRINT.format(table))
            found[table] = cursor.fetchone()
    return found


def test_the_same_seed_gives_the_same_rows(server, demo: Options) -> None:
    again = server.create_database()
    load_demo(again, audio_posts=AUDIO_POSTS)
    assert fingerprints(again) == fingerprints(demo)
    server.drop_database(again)


def test_another_seed_gives_other_rows(server, demo: Options) -> None:
    other = server.create_database()
    load_demo(other, audio_posts=AUDIO_POSTS, seed=2)
    assert value(other, "SELECT count(*) FROM public.posts WHERE post_type = 'audio'") == AUDIO_POSTS
    assert fingerprints(other)["public.posts"] != fingerprints(demo)["public.posts"]
    server.drop_database(other)


@pytest.mark.parametrize("audio_posts", [0, 1, 50, 300, 1001])
def test_any_size_holds_exactly_that_many_audio_posts(empty_database: Options, audio_posts: int) -> None:
    load_demo(empty_database, audio_posts=audio_posts)
    found = query(empty_database, "SELECT post_type, count(*)::integer FROM public.posts GROUP BY 1")
    assert dict(found) == {
        kind: count for kind, count in {"audio": audio_posts, "text": round(audio_posts * 3 / 7)}.items() if count
    }


def test_one_post_in_a_hundred_is_a_repost_by_the_same_user(demo: Options) -> None:
    posts, by_user_and_file, by_file = query(
        demo,
        "SELECT count(*), count(DISTINCT (user_id, audio_url)), count(DISTINCT audio_url) "
        "FROM public.posts WHERE post_type = 'audio'",
    )[0]
    assert posts - by_user_and_file == AUDIO_POSTS / 100
    # And one in a hundred is a file that another user posted before.
    assert by_user_and_file - by_file == AUDIO_POSTS / 100


def test_some_reposts_share_a_playlist_with_their_original(demo: Options) -> None:
    assert (
        value(
            demo,
            "SELECT count(*) FROM (SELECT FROM public.playlist_tracks AS e JOIN public.posts AS p ON p.id = e.track_id "
            "GROUP BY e.playlist_id, p.user_id, p.audio_url HAVING count(*) > 1) AS twice",
        )
        >= AUDIO_POSTS / 400
    )


def test_tracks_exist_already_and_half_are_the_file_of_a_post(demo: Options) -> None:
    tracks, posted, same_id = query(
        demo,
        "SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM public.posts AS p "
        "WHERE p.user_id = t.user_id AND p.audio_url = t.file_url)), "
        "count(*) FILTER (WHERE EXISTS (SELECT FROM public.posts AS p WHERE p.id = t.id)) FROM public.tracks AS t",
    )[0]
    assert (tracks, posted, same_id) == (AUDIO_POSTS / 50, AUDIO_POSTS / 100, 0)


def test_users_are_skewed_and_playlists_differ_in_length(demo: Options) -> None:
    heaviest, mean = query(
        demo, "SELECT max(n), avg(n) FROM (SELECT count(*) AS n FROM public.posts GROUP BY user_id) c"
    )[0]
    assert heaviest > 5 * mean
    entries, longest, median = query(
        demo,
        "SELECT sum(n), max(n), percentile_disc(0.5) WITHIN GROUP (ORDER BY n) FROM (SELECT count(e.id) AS n "
        "FROM public.playlists AS l LEFT JOIN public.playlist_tracks AS e ON e.playlist_id = l.id GROUP BY l.id) AS c",
    )[0]
    assert 0.27 * AUDIO_POSTS <= entries <= 0.33 * AUDIO_POSTS
    assert longest > 10 * median


def test_some_rows_were_edited_later_and_none_is_of_the_future(demo: Options) -> None:
    share, wrong = query(
        demo,
        "SELECT avg((updated_at > created_at)::integer), count(*) FILTER (WHERE updated_at < created_at "
        "OR updated_at > '2025-01-22') FROM public.posts",
    )[0]
    assert 0.1 < share < 0.2
    assert wrong == 0


def test_every_key_holds_although_rows_were_loaded_without_checking(demo: Options) -> None:
    assert broken_keys(demo) == {}


def test_clean_rows_have_nothing_that_stops_a_migration(demo: Options) -> None:
    assert {kind: value(demo, statement) for kind, statement in DIRTY.items()} == dict.fromkeys(DIRTY, 0)


DIRTY = {
    "a file name over 255 characters": "SELECT count(*) FROM public.posts WHERE length(btrim(audio_filename)) > 255",
    "a duration of 0": "SELECT count(*) FROM public.posts WHERE audio_duration <= 0",
    "a size of 0": "SELECT count(*) FROM public.posts WHERE audio_file_size <= 0",
    "an empty address": "SELECT count(*) FROM public.posts WHERE audio_url = ''",
    "a blank address": r"SELECT count(*) FROM public.posts WHERE audio_url ~ '^\s+$'",
    "an audio post whose user has no profile": "SELECT count(*) FROM public.posts WHERE post_type = 'audio' "
    "AND NOT EXISTS (SELECT FROM public.profiles WHERE profiles.id = posts.user_id)",
    "a track with the id of an audio post": "SELECT count(*) FROM public.tracks JOIN public.posts USING (id)",
    "a playlist entry at a text post": "SELECT count(*) FROM public.playlist_tracks AS e "
    "JOIN public.posts AS p ON p.id = e.track_id WHERE p.post_type = 'text'",
    "a playlist entry at nothing": "SELECT count(*) FROM public.playlist_tracks AS e "
    "WHERE NOT EXISTS (SELECT FROM public.posts WHERE posts.id = e.track_id)",
    "a track of nobody": "SELECT count(*) FROM public.tracks AS t "
    "WHERE NOT EXISTS (SELECT FROM public.profiles WHERE profiles.id = t.user_id)",
}


@pytest.mark.parametrize("check", [True, False])
def test_the_dirty_switch_brings_every_kind_of_dirt(empty_database: Options, check: bool) -> None:
    load_demo(empty_database, dirty=True, audio_fields_check=check)
    assert {kind: value(empty_database, statement) for kind, statement in DIRTY.items()} == dict.fromkeys(DIRTY, 3)
    assert broken_keys(empty_database) == {"playlist_tracks_track_id_fkey": 3, "tracks_user_id_fkey": 3}


def test_the_dirty_switch_adds_reposts_that_share_a_playlist(server, empty_database: Options) -> None:
    load_demo(empty_database, dirty=True)
    statement = (
        "SELECT count(*) FROM public.posts WHERE content = 'Posted twice' AND EXISTS (SELECT FROM "
        "public.playlist_tracks AS e JOIN public.playlist_tracks AS o USING (playlist_id) JOIN public.posts AS p "
        "ON p.id = o.track_id WHERE e.track_id = posts.id AND p.audio_url = posts.audio_url AND p.id <> posts.id)"
    )
    assert value(empty_database, statement) == 3


def broken_keys(options: Options) -> dict[str, int]:
    """Return how many rows of each foreign key point at nothing, whether or not the key is marked valid."""
    keys = query(
        options,
        "SELECT c.conname, c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text, f.attname "
        "FROM pg_catalog.pg_constraint AS c "
        "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] "
        "JOIN pg_catalog.pg_attribute AS f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1] "
        "WHERE c.contype = 'f'",
    )
    superuser = {**options, "user": "supabase_admin"}
    broken = {}
    for name, table, column, parent, parent_column in keys:
        rows = value(
            superuser,
            f"SELECT count(*) FROM {table} AS child WHERE child.{column} IS NOT NULL "
            f"AND NOT EXISTS (SELECT FROM {parent} AS parent WHERE parent.{parent_column} = child.{column})",
        )
        if rows:
            broken[name] = rows
    return broken
