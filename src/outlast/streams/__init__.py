"""What runs say while they run, for whoever listens: in this process at once, in others through the database."""
