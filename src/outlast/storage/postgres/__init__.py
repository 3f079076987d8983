"""The PostgreSQL side of the storage: pool, migrations, statements and the embedded server."""
