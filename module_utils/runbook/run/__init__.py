"""Handle a run as a whole: its identity, its report, and promotion."""
