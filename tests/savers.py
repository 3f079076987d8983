"""What the fixture `open_saver` gives: one more saver on the test's database, as another process would have."""

from collections.abc import Awaitable, Callable

from outlast.agents.checkpoints.saver import Checkpointer

OpenSaver = Callable[[], Awaitable[Checkpointer]]
