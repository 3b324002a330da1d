"""Locks of tables: who stands in the way, bounded waits, and another try."""
