"""Who asked for a run, in the form that graphs and factories read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class ProxyUser(Mapping[str, Any]):
    """A user that an authenticator described: LangGraph's BaseUser, each key also as an attribute.

    Only `identity` is required. Raises KeyError or AttributeError for what the authenticator did not give.
    """

    __slots__ = ("_described",)

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._described = dict(described)

    @property
    def identity(self) -> str:
        """The name that belongs to this user alone."""
        return str(self._described["identity"])

    @property
    def display_name(self) -> str:
        """The name to show; the identity unless the authenticator gave one."""
        return str(self._described.get("display_name") or self.identity)

    @property
    def is_authenticated(self) -> bool:
        """Whether the user is known; true unless the authenticator said otherwise."""
        return bool(self._described.get("is_authenticated", True))

    @property
    def permissions(self) -> Sequence[str]:
        """What the authenticator allows the user."""
        return tuple(self._described.get("permissions") or ())

    def __getitem__(self, key: str) -> Any:
        """Return what the authenticator gave under this key."""
        return self._described[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys."""
        return iter(self._described)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._described)

    def __getattr__(self, name: str) -> Any:
        # Copying and unpickling ask for attributes before there is anything to look at.
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._described[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        return f"ProxyUser({self.identity!r})"
