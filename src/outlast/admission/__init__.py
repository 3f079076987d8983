"""May this run start? One pipeline of small checks, then the queue."""
