"""The nouns of a run and their legal changes; no input or output happens here."""
