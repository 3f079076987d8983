"""Questions to people: what is open, who answers, and what happens when nobody does."""
