"""What the hub remembers in a database: SQLite by default, PostgreSQL by URL."""
