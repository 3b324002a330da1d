"""rollback.yml with method=reverse: refused with a reason, down to a version, all of it, twice; and forward again."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible.module_utils.runbook.database.connection import SessionSettings, session, transaction
from ansible.module_utils.runbook.plan.loader import load_plan
from ansible.module_utils.runbook.repair.archive import set_up_archive
from support.catalogue import catalogue, schema_text
from support.migrated import Migrated
from support.playbooks import PLAN_DIRECTORY, Operator
from support.servers import Options, Server, application_session, connect, load_demo, query, value

KEPT = "tracks_posts_separation_kept"
LISTED = (
    "SELECT e.position FROM public.playlist_tracks AS e JOIN public.tracks AS t ON t.id = e.track_id"
    " WHERE t.title = 'Listed'"
)
STOPPED = ("-e", "rollback_application_stopped=true")
REVERSE = ("rollback.yml", "-e", "method=reverse")


def new_application_writes(options: Options) -> tuple[str, str]:
    """A post of a library track, a listed track without a post, and an edited title. Returns post and edited track."""
    as_application = {**options, "user": "supabase_admin"}
    (user,) = query(options, "SELECT user_id FROM public.posts WHERE post_type = 'audio' ORDER BY id LIMIT 1")[0]
    (upload,) = query(
        as_application,
        "INSERT INTO public.tracks (user_id, title, file_url, mime_type)"
        " VALUES (%s, 'Demo', 'https://cdn.example.org/new/demo.flac?x=1', 'audio/flac') RETURNING id",
        (user,),
    )[0]
    (post,) = query(
        as_application,
        "INSERT INTO public.posts (user_id, content, post_type, track_id) VALUES (%s, 'new', 'audio', %s) RETURNING id",
        (user, upload),
    )[0]
    query(
        as_application,
        "WITH made AS (INSERT INTO public.tracks (user_id, title, file_url)"
        " VALUES (%s, 'Listed', 'https://cdn.example.org/new/listed.flac') RETURNING id)"
        " INSERT INTO public.playlist_tracks (playlist_id, track_id, position)"
        " SELECT (SELECT id FROM public.playlists ORDER BY id LIMIT 1), made.id, 9999 FROM made RETURNING id",
        (user,),
    )
    (edited,) = query(
        as_application,
        "UPDATE public.tracks SET title = 'Edited', genre = 'folk', play_count = 7, updated_at = now()"
        " WHERE id = (SELECT min(track_id::text)::uuid FROM public.posts WHERE id = track_id) RETURNING id",
    )[0]
    return post, edited


def test_reverse_keeps_what_was_written_and_a_later_run_takes_it_forward(server: Server, migrated: Migrated) -> None:
    options, operator = migrated.options, migrated.operator
    post, edited = new_application_writes(options)
    posts = value(options, "SELECT count(*) FROM public.posts")

    said = operator.type("rollback.yml")
    refused = operator.type(*REVERSE)

    assert said.status == 0, said.screen
    assert f"public.posts: 1 inserted, 0 updated, 0 deleted; for example: {post} inserted" in said.text
    assert f"{edited} updated" in said.text
    assert "loses: 5 rows written since the snapshot; the safety backup contains them" in said.text
    assert "to the archive, and the next migration restores them: " in said.text
    assert "tracks that the migration made, kept whole, for example: " in said.text
    assert "Not detected as writes of the new application: what both applications send alike" in said.text
    assert "deploy the old application first" in said.text
    assert "Next: ansible-playbook rollback.yml -e method=reverse" in said.text
    assert refused.status == 2
    assert "the new application wrote in the last 60 s" in refused.text
    assert "Deploy the old application first, then run the same command again" in refused.text
    assert "rollback_application_stopped=true" in refused.text
    assert len(query(options, "SELECT 1 FROM supabase_migrations.schema_migrations")) >= 4

    part = operator.type(*REVERSE, *STOPPED, "-e", "rollback_to=20250122000002")
    assert part.status == 0, part.screen
    assert "Undone: 20250122000004, 20250122000003" in part.text
    assert value(options, "SELECT count(*) FROM public.posts WHERE track_id IS NOT NULL") > 0
    assert "interrupted" in operator.type("playbooks/report.yml").text
    assert value(options, "SELECT state FROM migration_runbook.run") == "open"
    resumed = operator.type("migrate.yml", "-e", "application_writes=true")
    assert resumed.status == 0, resumed.screen
    assert value(options, "SELECT state FROM migration_runbook.run") == "complete"

    whole = operator.type(*REVERSE, *STOPPED)
    assert whole.status == 0, whole.screen
    assert query(
        options, "SELECT audio_url, audio_filename, audio_mime_type FROM public.posts WHERE id = %s", (post,)
    ) == [("https://cdn.example.org/new/demo.flac?x=1", "demo.flac", "audio/flac")]
    assert value(options, "SELECT count(*) FROM public.posts") == posts
    kept = query(
        options, f"SELECT row_data ->> 'title' FROM {KEPT}.archive WHERE row_data ->> 'id' = %s", (str(edited),)
    )
    assert kept == [("Edited",)]

    assert query(options, LISTED) == []
    (incident,) = operator.artifacts.glob("*/*/*/incidents/*-rolled_back/incident.json")
    assert str(incident.with_suffix(".md")) in whole.text
    assert json.loads(incident.read_text())["state_now"]["applied"] == []

    again = operator.type(*REVERSE, *STOPPED)
    assert again.status == 2
    assert "has no run that is open or complete: the newest, " in again.text
    assert ", is rolled back. Nothing was changed." in again.text

    forward = operator.type("migrate.yml")
    assert forward.status == 0, forward.screen
    assert query(options, LISTED) == [(9999,)], "the comparison with the snapshot expects what comes back"
    compared = operator.type("playbooks/verify.yml", "-e", "compare=true")
    assert compared.status == 0, compared.screen
    assert query(options, "SELECT title, genre, play_count FROM public.tracks WHERE id = %s", (edited,)) == [
        ("Edited", "folk", 7)
    ]
    assert value(options, "SELECT title FROM public.tracks AS t JOIN public.posts AS p ON p.track_id = t.id"
                 " WHERE p.id = %s", (post,)) == "Demo"  # fmt: skip
    assert value(options, f"SELECT to_regnamespace('{KEPT}') IS NULL")

    assert operator.type(*REVERSE, *STOPPED).status == 0
    query({**options, "user": "supabase_admin"}, f"DROP SCHEMA {KEPT} CASCADE; DROP SCHEMA migration_runbook CASCADE")
    assert catalogue(options) == migrated.catalogue_before
    assert schema_text(options, server.bin_directory) == migrated.schema_before


def write_until(options: Options, user: str, done: threading.Event) -> dict[str, str]:
    """As the old application: new posts, and other files for them. Returns what each post's file must be."""
    files: dict[str, str] = {}
    with application_session(options, user) as session, session.cursor() as cursor:
        while not done.is_set():
            file = f"https://cdn.example.org/live/{len(files)}.mp3"
            cursor.execute(
                "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename)"
                " VALUES (%s, 'live', 'audio', %s, 'live.mp3') RETURNING id",
                (user, file),
            )
            files[str(cursor.fetchone()[0])] = file
            post = list(files)[len(files) // 2]
            files[post] += "?edited"
            cursor.execute("UPDATE public.posts SET audio_url = %s WHERE id = %s", (files[post], post))
    return files


def test_the_old_application_goes_on_writing_during_a_reverse(migrated: Migrated) -> None:
    options, operator = migrated.options, migrated.operator
    (user,) = query(options, "SELECT user_id FROM public.posts WHERE post_type = 'audio' ORDER BY id LIMIT 1")[0]
    uploads = value(options, "SELECT count(*) FROM public.tracks WHERE id NOT IN (SELECT id FROM public.posts)")
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_until, options, str(user), done)
        try:
            reverted = operator.type(*REVERSE)
        finally:
            done.set()
        files = writing.result()

    assert reverted.status == 0, reverted.screen
    assert len(files) > 100
    found = query(options, "SELECT id::text, audio_url FROM public.posts WHERE content = 'live'")
    assert dict(found) == files
    assert value(options, "SELECT count(*) FROM public.tracks") == uploads, "a track that triggers made is left"


def test_a_restore_keeps_what_was_archived_before_its_backup_and_forgets_a_refused_one(
    server: Server, tmp_path: Path
) -> None:
    options = server.create_database()
    load_demo(options, audio_posts=300)
    with session({**options}, SessionSettings("test")) as connection, transaction(connection) as cursor:
        set_up_archive(cursor, load_plan(str(PLAN_DIRECTORY)))
    archive = (
        "INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data) VALUES (%s, 'public.posts', '{}')"
    )
    query(options, f"{archive} RETURNING id", ("before",))
    operator = Operator(tmp_path, options)
    assert operator.type("migrate.yml").status == 0
    query(options, f"{archive} RETURNING id", ("since",))

    refused = operator.type("rollback.yml", "-e", "method=restore", "-e", "restore_mode=swap")
    assert refused.status == 2
    assert operator.report()["failure"]["phase"] == "66-swap_prepare"

    restored = operator.type("rollback.yml", "-e", "method=restore")
    assert restored.status == 0, restored.screen
    assert operator.report()["failure"] is None
    assert [phase["name"] for phase in operator.report()["phases"] if phase["failed"]] == []
    (directory,) = operator.artifacts.glob("*/*/*/incidents/*-rolled_back")
    incident = json.loads((directory / "incident.json").read_text())
    away = incident["application_away"]
    assert away["application_seconds"] > away["database_seconds"] > 0
    assert f"away for {away['application_seconds']} s" in (directory / "incident.md").read_text()
    assert query(options, f"SELECT reason FROM {KEPT}.archive") == [("before",)]
    assert value(options, "SELECT to_regnamespace('tracks_posts_separation') IS NULL")

    assert operator.type("migrate.yml").status == 0
    taken_in = "SELECT count(*) FROM tracks_posts_separation.archive WHERE reason = 'before'"
    assert value(options, taken_in) == 1


def test_nobody_goes_forward_while_a_migration_is_half_reverted(migrated: Migrated) -> None:
    options, operator = migrated.options, migrated.operator
    with connect(options) as somebody, somebody.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE public.playlist_tracks IN ACCESS SHARE MODE")
        stopped = operator.type(*REVERSE, *STOPPED, "-e", '{"migration_execution_limits": {"lock_attempts": 1}}')
        cursor.execute("ROLLBACK")
    assert stopped.status == 2, stopped.screen
    assert "failed in 72-reverse-20250122000003: " in stopped.text
    assert "next: ansible-playbook rollback.yml -e method=reverse" in stopped.text
    look = operator.type("rollback.yml").text
    assert "20250122000003 Update playlist references (half reverted)" in look
    assert "forward_fix: not possible now: migration 20250122000003 is half reverted" in look

    status = operator.type("playbooks/status.yml").text
    assert "20250122000003 half reverted update_playlist_track_references" in status
    assert "the new application must not run: migration 20250122000003 is half reverted" in status
    assert "next: ansible-playbook rollback.yml -e method=reverse" in status
    before = catalogue(options)
    refused = operator.type("migrate.yml")
    assert refused.status == 2, refused.screen
    assert "20250122000003 is half reverted: " in refused.text
    assert "finish the rollback: ansible-playbook rollback.yml -e method=reverse" in refused.text
    assert catalogue(options) == before

    finished = operator.type(*REVERSE, *STOPPED)
    assert finished.status == 0, finished.screen


SAVED = "CREATE TABLE public.saved (track_id uuid REFERENCES public.tracks ON DELETE CASCADE)"
SAVE = "INSERT INTO public.saved SELECT id FROM public.posts WHERE id = track_id ORDER BY id LIMIT 3"
#: Somebody saves tracks when migration 3 is undone: after the assessment, before the tracks are deleted.
SAVE_MEANWHILE = f"""
CREATE FUNCTION public.save() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {SAVE}; RETURN NULL; END $$;
CREATE TRIGGER save AFTER DELETE ON supabase_migrations.schema_migrations FOR EACH ROW
    WHEN (OLD.version = '20250122000003') EXECUTE FUNCTION public.save()
"""


def test_rows_of_other_tables_stop_a_reverse_and_the_run_can_go_forward_again(migrated: Migrated) -> None:
    options, operator = migrated.options, migrated.operator
    query(options, f"{SAVED}; {SAVE}")
    before = catalogue(options)
    looked = operator.type("rollback.yml")
    refused = operator.type(*REVERSE, *STOPPED)

    for said in (looked, refused):
        assert (
            "3 rows of public.saved that reference public.tracks would be deleted (key saved_track_id_fkey on track_id)"
            in said.text
        )
        assert "then: ansible-playbook rollback.yml -e method=reverse" in said.text
    assert "nothing the application wrote" not in looked.text
    assert "restore: not possible now: its check of every foreign key would fail: 3 rows of public.saved" in looked.text
    assert refused.status == 2
    assert "Nothing was changed" in refused.text
    assert catalogue(options) == before
    assert value(options, "SELECT count(*) FROM public.saved") == 3

    query(options, f"DELETE FROM public.saved; {SAVE_MEANWHILE}")
    stopped = operator.type(*REVERSE, *STOPPED)
    assert stopped.status == 2, stopped.screen
    assert "that are to be deleted: 3 rows of public.saved would be deleted (saved_track_id_fkey)" in stopped.text
    assert "or migrate forward again: ansible-playbook migrate.yml" in stopped.text
    assert value(options, "SELECT count(*) FROM public.saved") == 3
    assert "20250122000002 half applied migrate_audio_posts_to_tracks" in operator.type("playbooks/status.yml").text
    query(options, "DROP TRIGGER save ON supabase_migrations.schema_migrations")

    forward = operator.type("migrate.yml")
    assert forward.status == 0, forward.screen
    assert value(options, "SELECT state FROM migration_runbook.run") == "complete"
    assert value(options, "SELECT count(*) FROM public.saved AS s JOIN public.tracks AS t ON t.id = s.track_id") == 3


def test_a_reverse_that_makes_no_sense_is_refused(migrated: Migrated) -> None:
    options, operator = migrated.options, migrated.operator
    before = catalogue(options)
    for version, message in (
        ("20990101000000", "rollback_to=20990101000000 is not a version of the plan; choose one of"),
        ("20250122000004", "nothing after 20250122000004 is applied"),
    ):
        refused = operator.type(*REVERSE, "-e", f"rollback_to={version}")
        assert refused.status == 2
        assert message in refused.text
        assert "Nothing was changed" in refused.text
    assert catalogue(options) == before


def test_a_reverse_without_a_change_log_wants_to_be_told(migrated: Migrated) -> None:
    operator = migrated.operator
    assert operator.type("playbooks/end_change_log.yml").status == 0
    refused = operator.type(*REVERSE)
    assert refused.status == 2
    assert "writes of the new application cannot be detected: there is no change log" in refused.text
    said = operator.type("rollback.yml")
    assert "every write since the snapshot, number unknown: there is no change log of public.tracks" in said.text
    assert operator.type(*REVERSE, *STOPPED).status == 0
