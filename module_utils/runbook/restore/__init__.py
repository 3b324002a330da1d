"""The restore in place."""
