"""Restore a backup: in place, as a drill in a scratch database, or by swapping databases."""
