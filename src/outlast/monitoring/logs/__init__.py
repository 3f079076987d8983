"""Lines about what happens, on stderr: gathered where it happens, rendered and written by a thread of their own."""
