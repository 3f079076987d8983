"""Callers that were asked for a moment ago (`auth.cache`): the same headers are the same user."""

import hashlib
import time
from collections import OrderedDict

from starlette.datastructures import Headers

from outlast.agents.sections import AuthCache
from outlast.server.auth.users import User


class UserCache:
    """Users by the headers that the project names, for as long as it says; refusals are not kept."""

    def __init__(self, section: AuthCache) -> None:
        self._names = section.cache_keys
        self._seconds = section.ttl_seconds
        self._size = section.max_size
        self._users: OrderedDict[bytes, tuple[float, User]] = OrderedDict()

    def key(self, headers: Headers) -> bytes | None:
        """Return what the user is kept under; None when the request has none of the headers."""
        values = [headers.getlist(name) for name in self._names]
        # Credentials are not kept.
        return hashlib.sha256(repr(values).encode()).digest() if any(values) else None

    def get(self, key: bytes) -> User | None:
        """Return a user that is kept and not too old."""
        kept = self._users.get(key)
        if kept is None or kept[0] <= time.monotonic():
            return None
        self._users.move_to_end(key)
        return kept[1]

    def keep(self, key: bytes, user: User) -> None:
        """Keep a user, and forget the one that was not asked for the longest time when there are too many."""
        self._users[key] = (time.monotonic() + self._seconds, user)
        self._users.move_to_end(key)
        if len(self._users) > self._size:
            self._users.popitem(last=False)
