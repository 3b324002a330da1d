"""Read the contents of a migrated database, to compare the results of contenders and not only their times."""

from __future__ import annotations

from typing import Any

from support.servers import Options, query

#: Each returns one value. Our triggers keep posts of one file on one track; the guide's SQL leaves a track
#: that no post references, and gives tracks new ids.
VALUES = {
    "audio_posts": "SELECT count(*) FROM public.posts WHERE post_type = 'audio'",
    "audio_posts_with_track": "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NOT NULL",
    "tracks": "SELECT count(*) FROM public.tracks",
    "tracks_of_posts": "SELECT count(DISTINCT track_id) FROM public.posts",
    "files_of_posts": "SELECT count(*) FROM (SELECT DISTINCT user_id, audio_url FROM public.posts"
    " WHERE post_type = 'audio') AS f",
    "playlist_entries": "SELECT count(*) FROM public.playlist_tracks",
    "posts_and_tracks": "SELECT sum(hashtextextended(id::text || coalesce(track_id::text, ''), 0))::text"
    " FROM public.posts",
    "track_rows": "SELECT sum(hashtextextended((t.id, t.user_id, t.title, t.description, t.file_url, t.duration,"
    " t.is_public, t.created_at, t.updated_at, t.file_size, t.mime_type, t.compression_ratio)::text, 0))::text"
    " FROM public.tracks AS t",
    "playlist_rows": "SELECT sum(hashtextextended((e.id, e.playlist_id, e.track_id, e.position)::text, 0))::text"
    " FROM public.playlist_tracks AS e",
    "edited_posts": "SELECT count(*) FROM public.posts WHERE updated_at > created_at + interval '60 days'",
}

LISTS = {
    "constraints": "SELECT conrelid::regclass::text, conname, contype::text, convalidated FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
    "indexes": "SELECT indexrelid::regclass::text, indisvalid, pg_get_indexdef(indexrelid) FROM pg_index"
    " JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = 'public'::regnamespace"
    " AND relname NOT LIKE '%tracks\\_posts\\_separation%' ORDER BY 1",
    "columns": "SELECT attrelid::regclass::text, attname, atttypid::regtype::text, attgenerated::text,"
    " col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid IN ('public.posts'::regclass,"
    " 'public.tracks'::regclass, 'public.playlist_tracks'::regclass) AND attnum > 0 AND NOT attisdropped ORDER BY 1, 2",
}


def end_state(options: Options) -> dict[str, Any]:
    """Return the state after a contender."""
    state: dict[str, Any] = {name: query(options, statement)[0][0] for name, statement in VALUES.items()}
    return state | {name: [list(row) for row in query(options, statement)] for name, statement in LISTS.items()}


def bytes_of(options: Options) -> int:
    """Return the size of a database."""
    return int(query(options, "SELECT pg_database_size(current_database())")[0][0])
