"""Where durable state lives: everything that speaks to a database."""
