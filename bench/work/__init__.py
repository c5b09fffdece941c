"""The rows of the table, one file a kind of work. Every kind starts servers of its own, on new data."""
