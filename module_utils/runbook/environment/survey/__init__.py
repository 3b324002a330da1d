"""Survey: find what the plan does not know about the tables that it writes."""
