"""Repair rows that the queries of the plan find, in one transaction; removed rows are kept in the archive."""
