"""Sessions: connecting, settings that hold, queries, keys."""
