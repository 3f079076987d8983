"""The validators that need no code: each is a rule, and a table of options in `outlast.toml`."""
