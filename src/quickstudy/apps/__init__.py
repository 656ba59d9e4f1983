"""Where the library meets a field: wiring and domain data."""
