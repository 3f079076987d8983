"""Service levels: what was promised of the agents, how much of it was kept, how fast the rest is used up."""
