"""Survey: what the schema holds that the plan does not know, for every table that the plan writes."""
