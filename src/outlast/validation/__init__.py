"""Whether what an agent says and does is acceptable: validators, and the engine that asks them."""
