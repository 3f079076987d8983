"""Reports of ended runs: taken from the outbox, signed, sent to public addresses, tried again until they arrive."""
