"""Back up a database: dump, data snapshot and manifest of one instant, verified before anything relies on them."""
