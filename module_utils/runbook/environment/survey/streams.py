"""Find logical replication of the written tables that would break, or that writes them itself."""

from __future__ import annotations

from collections.abc import Iterator

from ...verification.findings import Finding
from .subject import Subject

SUBSCRIBED = """
SELECT wanted.name AS "table", array_agg(DISTINCT r.srsubid::text) AS subscriptions
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_subscription_rel AS r ON r.srrelid = to_regclass(wanted.name)
 GROUP BY wanted.place, wanted.name ORDER BY wanted.place
"""

#: The names are public, the connection strings are not.
NAMES = "SELECT oid::text AS id, subname::text AS name FROM pg_catalog.pg_subscription"

PUBLISHED = """
SELECT wanted.name AS "table", p.pubname::text AS publication, p.puballtables AS all_tables,
       r.prqual IS NOT NULL AS has_filter, pg_catalog.pg_get_expr(r.prqual, r.prrelid) AS filter,
       r.prattrs IS NOT NULL AS has_list,
       (SELECT string_agg(a.attname::text, ', ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a
         WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::smallint[])) AS columns,
       p.pubupdate OR p.pubdelete AS needs_identity, c.relreplident::text AS identity,
       EXISTS (SELECT FROM pg_catalog.pg_index AS i
                WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate) AS has_key,
       EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisreplident) AS has_identity_index
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(wanted.name)
 CROSS JOIN pg_catalog.pg_publication AS p
  LEFT JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid AND r.prrelid = c.oid
 WHERE p.puballtables OR r.oid IS NOT NULL
    OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace AS s
                WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)
 ORDER BY p.pubname, wanted.place
"""


def examine_subscriptions(subject: Subject) -> Iterator[Finding]:
    """Find tables that a subscription writes."""
    rows = subject.view.rows(SUBSCRIBED, {"tables": subject.tables})
    names: dict[str, str] = {}
    readable = "SELECT has_column_privilege('pg_catalog.pg_subscription', 'subname', 'SELECT')"
    if rows and subject.view.value(readable):
        names = {row["id"]: row["name"] for row in subject.view.rows(NAMES)}
    for row in rows:
        named = ", ".join(names.get(oid, f"number {oid}") for oid in row["subscriptions"])
        yield Finding(
            "subscription",
            "blocking",
            row["table"],
            f"{row['table']} is fed by a subscription ({named})",
            "its apply worker fires no ordinary trigger, so the plan's triggers do not see its rows; and it stops at "
            "the first row that a new constraint refuses",
            "migrate the publisher, not this copy; or remove the table from its publication there and ALTER "
            f"SUBSCRIPTION {named} REFRESH PUBLICATION",
        )


def examine_replica_identity(subject: Subject) -> Iterator[Finding]:
    """Find published tables whose updates the server refuses."""
    rows = [row for row in subject.view.rows(PUBLISHED, {"tables": subject.tables}) if row["needs_identity"]]
    for table in dict.fromkeys(row["table"] for row in rows):
        row = next(entry for entry in rows if entry["table"] == table)
        identity = row["identity"]
        none = (
            identity == "n"
            or (identity == "d" and not row["has_key"])
            or (identity == "i" and not row["has_identity_index"])
        )
        if none:
            yield Finding(
                "replica_identity",
                "blocking",
                table,
                f"{table} is published by {row['publication']} and has no replica identity",
                "the server refuses every UPDATE and DELETE on it (SQLSTATE 55000)",
                f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT (with a primary key), USING INDEX <unique index> "
                "or FULL",
            )
        elif identity == "f" and subject.writes[table].updates and not subject.is_over:
            yield Finding(
                "replica_identity",
                "information",
                table,
                f"{table} has REPLICA IDENTITY FULL and is published by {row['publication']}",
                "each update writes the whole old and new row to the WAL",
            )


def examine_publications(subject: Subject) -> Iterator[Finding]:
    """Find publications with row filters or column lists, or of all tables."""
    if subject.direction == "reverted" or subject.is_over:
        return
    rows = subject.view.rows(PUBLISHED, {"tables": subject.tables})
    for row in rows:
        if not (row["has_filter"] or row["has_list"]):
            continue
        parts = [f"the columns {row['columns']}"] if row["has_list"] else []
        parts += [f"the rows WHERE {row['filter']}"] if row["has_filter"] else []
        yield Finding(
            "publication_of_parts",
            "warning",
            f"{row['publication']}: {row['table']}",
            f"the publication {row['publication']} sends only {' and '.join(parts)} of {row['table']}",
            "its subscribers may not get the columns that the plan adds or the rows that it changes",
            f"after the plan: ALTER PUBLICATION {row['publication']} SET TABLE ... with the new columns",
        )
    for publication in dict.fromkeys(row["publication"] for row in rows if row["all_tables"]):
        yield Finding(
            "publication_of_all_tables",
            "warning",
            publication,
            f"the publication {publication} is FOR ALL TABLES",
            "tables that the plan and the runbook create are published at once: a subscriber without them stops, and "
            "the server refuses updates of those without a replica identity",
            f"before the migration replace {publication} by a publication that lists its tables, or inform its "
            "subscribers",
        )
