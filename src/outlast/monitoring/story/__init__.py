"""The story of a thread, told from the database: runs, attempts, steps, calls, effects, decisions, people."""

from outlast.monitoring.story.telling import story_of

__all__ = ["story_of"]
