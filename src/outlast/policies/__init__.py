"""What runs, models and tools may do: policies, and the kill switches that stop them."""
