"""The survey: each thing that the plan does not know is made for real, and its finding read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from plan_sql import plan
from support.modules import run_module
from support.servers import SUPERUSER, Options, Server, connect

SETTINGS = {"migrated_tracks_are_public": True}
DISK = {"free_disk_bytes": 10**12}

Findings = list[dict[str, Any]]
Surveyed = Callable[[tuple["Case", ...]], Findings]


class Case:
    """SQL that a deployment could have run, and the finding that it must lead to."""

    def __init__(self, sql: str, finding: str, about: str, *parts: str, severity: str = "blocking") -> None:
        self.sql, self.finding, self.about, self.parts, self.severity = sql, finding, about, parts, severity

    def __repr__(self) -> str:
        return f"{self.finding}-{self.about}"


NOTHING = "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
PARSED = "RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(track_id) FROM public.playlist_tracks; END"

SCHEMA: tuple[Case, ...] = (
    Case(
        "ALTER TABLE public.tracks ADD license text NOT NULL DEFAULT 'x'; ALTER TABLE public.tracks ALTER license "
        "DROP DEFAULT",
        "required_column",
        "public.tracks.license",
        "is NOT NULL and has no default",
        "ALTER COLUMN license SET DEFAULT",
    ),
    Case(
        "CREATE DOMAIN public.filled AS text NOT NULL DEFAULT 'x'; ALTER TABLE public.tracks ADD label public.filled;"
        "ALTER DOMAIN public.filled DROP DEFAULT",
        "required_column",
        "public.tracks.label",
        "has the domain public.filled, which refuses NULL",
    ),
    Case(
        "CREATE DOMAIN public.checked AS text DEFAULT 'x' CHECK (VALUE IS NOT NULL);"
        "ALTER TABLE public.tracks ADD mood public.checked; ALTER DOMAIN public.checked DROP DEFAULT",
        "required_column",
        "public.tracks.mood",
        "has the domain public.checked",
    ),
    Case(
        "ALTER TABLE public.tracks ADD isrc text, ADD CONSTRAINT isrc_given CHECK (isrc IS NOT NULL AND isrc <> "
        "'') NOT VALID",
        "required_column",
        "public.tracks.isrc",
        "must not be NULL (constraint isrc_given)",
    ),
    Case(
        "ALTER TABLE public.tracks ADD uploader uuid DEFAULT gen_random_uuid() NOT NULL;"
        "ALTER TABLE public.tracks ALTER uploader SET DEFAULT auth.uid()",
        "required_column",
        "public.tracks.uploader",
        "its default (auth.uid()) is NULL in a session of the runbook",
    ),
    Case(
        "ALTER TABLE public.tracks DROP duration;"
        "ALTER TABLE public.tracks ADD duration integer GENERATED ALWAYS AS (play_count + 1) STORED",
        "generated_column",
        "public.tracks.duration",
        "GENERATED ALWAYS, and the plan writes this column",
        "DROP EXPRESSION",
    ),
    Case(
        # The embedded server has no ICU: what the catalog says is what counts.
        "CREATE COLLATION public.ci (provider = libc, locale = 'C'); SET allow_system_table_mods = on;"
        "UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'ci';"
        "ALTER TABLE public.posts ALTER audio_url TYPE text COLLATE public.ci",
        "nondeterministic_collation",
        "public.posts.audio_url",
        "has the collation ci",
    ),
    Case(
        "ALTER TABLE public.playlist_tracks ADD CONSTRAINT places UNIQUE (playlist_id, position, id)"
        " DEFERRABLE INITIALLY DEFERRED",
        "deferrable_constraint",
        "public.playlist_tracks.places",
        "ON CONFLICT",
        'DROP CONSTRAINT places, ADD CONSTRAINT places UNIQUE (playlist_id, "position", id) NOT DEFERRABLE',
    ),
    Case(
        "ALTER TABLE public.playlist_tracks ADD CONSTRAINT once EXCLUDE USING hash (track_id WITH =) WHERE "
        "(position < 0)",
        "exclusion_constraint",
        "public.playlist_tracks.once",
        "is an exclusion constraint",
    ),
    Case(
        "CREATE RULE watched AS ON UPDATE TO public.posts DO ALSO NOTHING",
        "rule",
        "public.posts.watched",
        "rewrites UPDATE statements",
        "DISABLE RULE watched",
    ),
    Case(
        NOTHING
        + "CREATE TRIGGER replayed BEFORE UPDATE ON public.posts FOR EACH ROW EXECUTE FUNCTION public.nothing();"
        "ALTER TABLE public.posts ENABLE ALWAYS TRIGGER replayed",
        "trigger_conflict",
        "public.posts.replayed",
        "is enabled as ALWAYS",
    ),
    Case(
        "CREATE TRIGGER counted AFTER UPDATE ON public.playlist_tracks FOR EACH STATEMENT EXECUTE FUNCTION "
        "public.nothing()",
        "trigger",
        "public.playlist_tracks",
        "counted",
        "AFTER UPDATE FOR EACH STATEMENT",
        severity="information",
    ),
    Case(
        "CREATE FUNCTION public.seen() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER watch_ddl ON ddl_command_end EXECUTE FUNCTION public.seen()",
        "event_trigger",
        "",
        "watch_ddl; test DDL was accepted and rolled back",
        severity="information",
    ),
    Case(
        "CREATE TABLE public.old_comments () INHERITS (public.comments)",
        "inheritance",
        "public.comments",
        "parent of public.old_comments",
    ),
    Case(
        "CREATE TYPE public.list_row AS (id uuid, user_id uuid, name text, description text, is_public boolean,"
        " cover_image_url text, created_at timestamptz, updated_at timestamptz);"
        "ALTER TABLE public.playlists OF public.list_row",
        "typed_table",
        "public.playlists",
        "NOT OF",
    ),
    Case(
        "ALTER PUBLICATION supabase_realtime DROP TABLE ONLY public.comments; ALTER TABLE public.comments SET UNLOGGED",
        "unlogged_table",
        "public.comments",
        "UNLOGGED",
        severity="warning",
    ),
    Case(
        "ALTER TABLE public.playlists FORCE ROW LEVEL SECURITY",
        "force_row_security",
        "public.playlists",
        "NO FORCE ROW LEVEL SECURITY",
    ),
    Case(
        "GRANT SELECT (id, content), UPDATE (content) ON public.posts TO anon",
        "column_grants",
        "public.posts: anon",
        "anon has SELECT, UPDATE on single columns of public.posts: content, id",
    ),
    Case(
        "CREATE VIEW public.listed AS SELECT playlist_id, track_id FROM public.playlist_tracks",
        "object_on_changed_column",
        "public.listed",
        "the view public.listed reads public.playlist_tracks.track_id",
    ),
    Case(
        "CREATE MATERIALIZED VIEW public.popular AS SELECT track_id, count(*) FROM public.playlist_tracks GROUP BY 1",
        "object_on_changed_column",
        "public.popular",
        "the materialized view",
    ),
    Case(
        "CREATE POLICY of_track ON public.playlist_tracks FOR DELETE USING (track_id <> id)",
        "object_on_changed_column",
        "public.playlist_tracks.of_track",
        "the policy",
    ),
    Case(
        f"CREATE FUNCTION public.entries() {PARSED}",
        "object_on_changed_column",
        "public.entries()",
        "the function",
    ),
    Case(
        "CREATE TABLE public.saved_tracks (track_id uuid REFERENCES public.tracks ON DELETE CASCADE)",
        "key_from_outside",
        "public.saved_tracks.saved_tracks_track_id_fkey",
        "public.saved_tracks (0 rows) references public.tracks, ON DELETE CASCADE",
        severity="warning",
    ),
    Case(
        "ALTER TABLE public.playlist_tracks ADD CONSTRAINT still_a_post FOREIGN KEY (track_id) REFERENCES public.posts",
        "key_on_changed_column",
        "public.playlist_tracks.still_a_post",
        "is a foreign key of a column whose values the plan changes",
    ),
    Case(
        "CREATE TABLE public.files (url text PRIMARY KEY);"
        "ALTER TABLE public.tracks ADD CONSTRAINT file_known FOREIGN KEY (file_url) REFERENCES public.files NOT VALID",
        "key_of_created_rows",
        "public.tracks.file_known",
        "rows that the plan will create in public.tracks violate the foreign key file_known",
    ),
    Case(
        "CREATE SUBSCRIPTION feed CONNECTION 'host=nowhere' PUBLICATION posts WITH (connect = false);"
        "SET allow_system_table_mods = on;"
        "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
        " SELECT oid, 'public.posts'::regclass, 'r' FROM pg_subscription WHERE subname = 'feed'",
        "subscription",
        "public.posts",
        "is fed by a subscription (feed)",
        "fires no ordinary trigger",
    ),
    Case(
        "ALTER TABLE public.posts REPLICA IDENTITY NOTHING",
        "replica_identity",
        "public.posts",
        "is published by",
        "REPLICA IDENTITY DEFAULT",
    ),
    Case(
        "CREATE PUBLICATION parts FOR TABLE public.tracks (id, title) WHERE (id IS NOT NULL)",
        "publication_of_parts",
        "parts: public.tracks",
        "only the columns id, title and the rows WHERE",
        severity="warning",
    ),
    Case(
        "CREATE PUBLICATION everything FOR ALL TABLES",
        "publication_of_all_tables",
        "everything",
        "FOR ALL TABLES",
        severity="warning",
    ),
)

#: Evaluated over the rows that will be created and updated.
RULES: tuple[Case, ...] = (
    Case(
        "DELETE FROM public.tracks; CREATE UNIQUE INDEX one_each ON public.tracks (user_id) WHERE is_public",
        "unique_index",
        "public.tracks.one_each",
        "rows that the plan will write to public.tracks violate the index one_each",
    ),
    Case(
        "UPDATE public.posts SET content = 'Same' WHERE id IN (SELECT id FROM public.posts WHERE post_type = "
        "'audio' LIMIT 9);CREATE UNIQUE INDEX one_text ON public.tracks (lower(description))",
        "unique_index",
        "public.tracks.one_text",
        "violate the index one_text",
    ),
    Case(
        "ALTER TABLE public.tracks ADD CONSTRAINT one_genre UNIQUE NULLS NOT DISTINCT (user_id, genre)",
        "unique_index",
        "public.tracks.one_genre",
        "violate the index one_genre",
    ),
    Case(
        "CREATE UNIQUE INDEX one_tag ON public.tracks (user_id, tags)",
        "unique_index",
        "public.tracks.one_tag",
        "none violates it",
        severity="warning",
    ),
    Case(
        "CREATE UNIQUE INDEX featured ON public.tracks (user_id) WHERE genre = 'featured'",
        "unique_index",
        "public.tracks.featured",
        "evaluated over 0 rows",
        severity="information",
    ),
    Case(
        "ALTER TABLE public.tracks ADD CONSTRAINT short CHECK (length(title) < 3) NOT VALID",
        "check_constraint",
        "public.tracks.short",
        "violate the constraint short: CHECK ((length(title) < 3))",
    ),
    Case(
        "ALTER TABLE public.tracks ADD CONSTRAINT sane CHECK (duration < 1000000 AND play_count >= 0)",
        "check_constraint",
        "public.tracks.sane",
        "none violates it",
        severity="warning",
    ),
    Case(
        "ALTER TABLE public.posts ADD CONSTRAINT fresh CHECK (created_at > now() - interval '1 minute') NOT VALID",
        "check_constraint",
        "public.posts.fresh",
        "rows that the plan will write to public.posts violate the constraint fresh",
    ),
    Case(
        "DELETE FROM public.playlist_tracks;"
        "INSERT INTO public.playlist_tracks (playlist_id, track_id, position)"
        " SELECT (SELECT id FROM public.playlists ORDER BY id OFFSET place LIMIT 1), id, 0 FROM ("
        "  SELECT p.id, row_number() OVER (ORDER BY p.created_at) - 1 AS place FROM public.posts AS p"
        "   WHERE (user_id, audio_url) = (SELECT user_id, audio_url FROM public.posts WHERE post_type = 'audio'"
        "          GROUP BY 1, 2 HAVING count(*) > 1 LIMIT 1)) AS same;"
        "CREATE UNIQUE INDEX listed_once ON public.playlist_tracks (track_id)",
        "unique_index",
        "public.playlist_tracks.listed_once",
        "rows that the plan will write to public.playlist_tracks violate the index listed_once",
    ),
)

#: Nothing that a query can foresee: a sample says what becomes of the rows. Each on a database of its own.
SAMPLED: tuple[Case, ...] = (
    Case(
        "CREATE DOMAIN public.name AS text CHECK (length(VALUE) < 400);"
        "ALTER TABLE public.tracks ALTER title TYPE public.name",
        "sampled_rows",
        "public.tracks",
        "sampled, 20 rows that the plan will create were accepted unchanged and rolled back, with the domain "
        "public.name",
        severity="information",
    ),
    Case(
        "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.genre IS NULL THEN RAISE 'a track needs a genre'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER needs_genre BEFORE INSERT ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.no()",
        "sampled_rows",
        "public.tracks",
        "a track needs a genre",
        "the trigger needs_genre",
        "PL/pgSQL function no()",
    ),
    Case(
        "CREATE FUNCTION public.shout() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.title := upper(NEW.title) || '!'; RETURN NEW; END $$;"
        "CREATE TRIGGER shouts BEFORE INSERT ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.shout()",
        "sampled_rows",
        "public.tracks",
        "20 were changed on insert",
    ),
    Case(
        "CREATE FUNCTION public.later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'too late'; END $$;"
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON public.tracks DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.later()",
        "sampled_rows",
        "public.tracks",
        "too late",
    ),
    Case(
        "CREATE TABLE public.genres (name text); GRANT ALL ON public.genres TO postgres;"
        "CREATE FUNCTION public.count_track() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO genres VALUES ('x'); RETURN NEW; END $$;"
        "CREATE TRIGGER count_track BEFORE INSERT ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.count_track()",
        "sampled_rows",
        "public.tracks",
        "sampled, 20 rows that the plan will create were accepted unchanged and rolled back",
        severity="information",
    ),
    Case(
        "CREATE FUNCTION public.frozen() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'the schema is frozen'; END $$;"
        "CREATE EVENT TRIGGER frost ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION public.frozen()",
        "event_trigger",
        "",
        "ALTER TABLE runbook_event_trigger_trial.child ADD COLUMN parent_id bigint failed: the schema is frozen",
        "ALTER EVENT TRIGGER",
    ),
    Case(
        "CREATE FUNCTION public.fixed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.track_id <> OLD.track_id THEN RAISE 'an entry keeps its track'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER keeps BEFORE UPDATE ON public.playlist_tracks FOR EACH ROW EXECUTE FUNCTION public.fixed()",
        "sampled_updates",
        "public.playlist_tracks",
        "an entry keeps its track",
        "the step that updates these rows fails",
    ),
    Case(
        "CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER notes AFTER UPDATE ON public.playlist_tracks FOR EACH ROW EXECUTE FUNCTION public.noted()",
        "sampled_updates",
        "public.playlist_tracks",
        "were accepted and rolled back, with notes",
        severity="information",
    ),
    Case(
        "CREATE FUNCTION public.songs_of(list uuid) RETURNS SETOF public.posts LANGUAGE sql STABLE AS"
        " 'SELECT p.* FROM public.playlist_tracks AS e JOIN public.posts AS p ON p.id = e.track_id WHERE "
        "e.playlist_id = $1'",
        "function_names_changed_column",
        "public.songs_of(uuid)",
        "names public.playlist_tracks.track_id",
        severity="warning",
    ),
    Case(
        "CREATE FUNCTION public.send() RETURNS bigint LANGUAGE sql AS 'SELECT 1 /* net.http_post() */';"
        "CREATE FUNCTION public.call_home() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM public.send(); RETURN NEW; END $$;"
        "CREATE TRIGGER hook AFTER INSERT ON public.tracks FOR EACH ROW EXECUTE FUNCTION public.call_home()",
        "trigger_not_sampled",
        "public.send",
        "INSERT on public.tracks was not tried: it can reach public.send",
        severity="warning",
    ),
)


def examine(options: Options, **more: Any) -> dict[str, Any]:
    good = {"connection": options, "plan": plan(), "plan_settings": SETTINGS, **DISK, "fail_on_blocking": False}
    return run_module("pg_environment_info", **{**good, **more})


def change(options: Options, cases: tuple[Case, ...]) -> None:
    """As a superuser, in the order given; tables taken out of the publication where the change needs it."""
    with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        for case in cases:
            cursor.execute(case.sql)


@pytest.fixture(scope="module")
def surveyed(server: Server, clean_template: str) -> Iterator[Surveyed]:
    """Run all of a table's SQL on one database, once, and return what was found."""
    known: dict[int, Findings] = {}
    made: list[Options] = []

    def call(cases: tuple[Case, ...]) -> Findings:
        if id(cases) not in known:
            made.append(server.create_database(clean_template))
            change(made[-1], cases)
            known[id(cases)] = examine(made[-1])["findings"]
        return known[id(cases)]

    yield call
    for options in made:
        with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database"
                " WHERE datname = current_database())"
            )
            for (name,) in cursor.fetchall():
                cursor.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE); DROP SUBSCRIPTION {name}")
        server.drop_database(options)


def assert_found(case: Case, findings: Findings) -> None:
    same = [entry for entry in findings if entry["name"] == case.finding and case.about in ("", entry["object"])]
    assert len(same) == 1, [(entry["severity"], entry["name"], entry["object"], entry["found"]) for entry in findings]
    finding = same[0]
    assert finding["severity"] == case.severity, finding
    text = " ".join([finding["found"], finding["harm"], finding["repair"], str(finding["rows"])])
    assert all(part in text for part in case.parts), text
    if case.severity == "blocking" and case.finding != "not_examined":
        assert f"finding: {case.finding}, object: '{finding['object']}'" in finding["repair"]


@pytest.mark.parametrize("case", SCHEMA, ids=repr)
def test_the_schema_holds_what_the_plan_does_not_know(surveyed: Surveyed, case: Case) -> None:
    assert_found(case, surveyed(SCHEMA))


def test_columns_that_do_no_harm_are_no_finding(database: Options) -> None:
    """The plan puts archived rows back without them; a plan that does not say so is stopped."""
    change(
        database,
        (
            Case("ALTER TABLE public.tracks ADD words tsvector GENERATED ALWAYS AS ('x'::tsvector) STORED", "", ""),
            Case("ALTER TABLE public.playlist_tracks ADD number bigint GENERATED ALWAYS AS IDENTITY", "", ""),
        ),
    )
    names = [entry["name"] for entry in examine(database)["findings"]]
    assert "generated_column" not in names


@pytest.mark.parametrize("case", RULES, ids=repr)
def test_rules_are_evaluated_over_the_rows_that_the_plan_writes(surveyed: Surveyed, case: Case) -> None:
    assert_found(case, surveyed(RULES))


@pytest.mark.parametrize("case", SAMPLED, ids=repr)
def test_a_sample_says_what_the_server_makes_of_the_rows(database: Options, case: Case) -> None:
    change(database, (case,))
    assert_found(case, examine(database)["findings"])
