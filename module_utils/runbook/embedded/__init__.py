"""The temporary server of the demonstration and the tests, and its data."""
