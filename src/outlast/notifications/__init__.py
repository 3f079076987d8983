"""Telling people that somebody has to look: from an outbox, in the words of each channel, until it has arrived."""
