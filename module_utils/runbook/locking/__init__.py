"""Locks of tables: blockers, bounded waits and retries."""
