"""The shape of what plan.yml says about the data snapshot."""

from __future__ import annotations

from .parts import FILE, NAME, RELATION, TABLE, listing, mapping, optional

FINGERPRINT = {
    **mapping(
        {"name": NAME, "key": NAME},
        {
            "table": TABLE,
            "query": FILE,
            "after_migration": {**RELATION, "default": "equal"},
            "by_application": optional(FILE),
        },
    ),
    "oneOf": [{"required": ["table"]}, {"required": ["query"]}],
}

COUNT = mapping(
    {"name": NAME, "query": FILE},
    {"after_migration": {**RELATION, "default": "any"}, "by_application": optional(FILE)},
)

SNAPSHOT = mapping(
    {},
    {
        "counts": listing(COUNT),
        "samples": listing(mapping({"name": NAME, "query": FILE})),
        "fingerprints": listing(FINGERPRINT),
    },
)
