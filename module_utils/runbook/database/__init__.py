"""Sessions and what they read: connections, verified settings, queries, keys, standbys."""
