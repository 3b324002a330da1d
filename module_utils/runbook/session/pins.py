"""Server parameters that change how our SQL is read or what it does: the value that each session of ours has.

A database or a role can set any of them for its sessions (ALTER DATABASE, ALTER ROLE). Parameters that change only how
fast a statement is, what is logged, or how long a wait lasts on its way, stay as they are found.
"""

from __future__ import annotations

#: Anybody may set these.
PINS: dict[str, str] = {
    # How a statement is read.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "search_path": "pg_catalog",
    "xmloption": "content",
    "timezone_abbreviations": "Default",
    # How a value is written as text.
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_numeric": "C",
    "lc_time": "C",
    "quote_all_identifiers": "off",
    # Which rows a statement sees. A table whose policies would hide rows is an error, not a smaller answer.
    "row_security": "off",
    "gin_fuzzy_search_limit": "0",
    "restrict_nonsystem_relation_kind": "",
    # What a transaction is, where its statement does not say it.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # What a statement that makes an object makes, and where.
    "check_function_bodies": "on",
    "default_tablespace": "",
    "temp_tablespaces": "",
    "default_table_access_method": "heap",
    "createrole_self_grant": "",
    # How a function in plpgsql is compiled, where that was given a value from outside.
    "plpgsql.extra_errors": "none",
    "plpgsql.check_asserts": "on",
    # An error would end the session, and with it the locks that it holds.
    "exit_on_error": "off",
    # A session that only waits (it holds the lease, or watches) must not be ended by a setting of its role.
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}

#: Only a superuser, or a role with SET on the parameter, may set these: set where they differ, refused where they
#: cannot be. What happens under another value.
RESTRICTED_PINS: dict[str, tuple[str, str]] = {
    "session_replication_role": ("origin", "no foreign key is checked and no trigger of the application fires"),
    "event_triggers": ("on", "the deployment's event triggers do not see what is created"),
    "zero_damaged_pages": ("off", "damaged pages are emptied, and their rows are missing from the backup"),
    "ignore_checksum_failure": ("off", "damaged rows are read as if they were whole"),
    "plpgsql.variable_conflict": ("error", "an ambiguous name in a function means another thing"),
}

#: A client tool does not need these: it sets them itself, writes them into what it restores, or prints no values.
NOT_FOR_TOOLS = {
    "search_path",
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "extra_float_digits",
    "bytea_output",
    "timezone_abbreviations",
    "lc_numeric",
    "lc_time",
    "row_security",
    "idle_session_timeout",
    "transaction_timeout",
    "createrole_self_grant",
    "plpgsql.variable_conflict",
    "plpgsql.extra_errors",
    "plpgsql.check_asserts",
}
