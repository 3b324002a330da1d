"""The change log: what the application writes to the protected tables from before the snapshot until it is ended."""
