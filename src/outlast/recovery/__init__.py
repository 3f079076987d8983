"""Find what a dead process left behind and put it back on the path."""
