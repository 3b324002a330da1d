"""Tables out of their publications for a backfill, and back: subscribers are spared an event per moved row."""
