"""How the tables came to be as they are, one file a step; Alembic runs them when a database is opened."""
