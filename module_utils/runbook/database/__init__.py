"""Sessions and what they read: connecting, settings that hold, queries, keys, standbys."""
