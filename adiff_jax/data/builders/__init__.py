"""Writing and reading the two tables, and readers of raw data sets."""
