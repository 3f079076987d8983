"""What an async test waits for when it hangs: the error is raised where it waits, and the traceback shows the place."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import pytest

#: Longer than any test takes on a slow machine, shorter than the `timeout` of pyproject.toml.
LONGEST_SECONDS = 240


def end_hanging(item: pytest.Item) -> None:
    """Give an async test an end."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _limited(item.obj)


def _limited(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def limited(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(LONGEST_SECONDS):
            await test(*args, **kwargs)

    return limited
