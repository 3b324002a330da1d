"""A mixed application load on a database of the demo's schema: see `python -m bench.traffic --help`."""
