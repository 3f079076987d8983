"""A caller, in the form that handlers see and in the form that a run keeps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from outlast.domain.acting import Principal
from outlast.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class User:
    """Who is calling. `given` is what handlers get as `ctx.user`, with the class they know."""

    identity: str
    permissions: tuple[str, ...]
    given: Any

    def to_json(self) -> dict[str, Any]:
        """Return what a run keeps of its user; values that JSON does not know become texts."""
        fields = dict(self.given) if isinstance(self.given, GivenUser) else {}
        known = {
            "identity": self.identity,
            "display_name": str(getattr(self.given, "display_name", self.identity)),
            "is_authenticated": True,
            "permissions": list(self.permissions),
        }
        return orjson.loads(orjson.dumps(fields | known, default=str, option=orjson.OPT_NON_STR_KEYS))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as handlers and runs see them, and as whom the program acts for them."""

    user: User
    principal: Principal


def known_user(who: Principal, *, identity: str) -> User:
    """Return the user that a key or a token stands for; its scopes are its permissions."""
    permissions = sorted(who.scopes or ())
    given = {"identity": identity, "permissions": permissions, "tenant": who.tenant, "key_id": who.key_id}
    return User(identity, tuple(permissions), GivenUser(given))


class GivenUser(Mapping[str, Any]):
    """What an authenticate handler returned as a text or a mapping: its fields as keys and as attributes."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields: dict[str, Any] = {
            "display_name": fields["identity"],
            "is_authenticated": True,
            "permissions": [],
            **fields,
        }

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __getattr__(self, name: str) -> Any:
        # Not by self: a copy under construction has no fields yet.
        try:
            return self.__dict__["_fields"][name]
        except KeyError:
            msg = f"this user has no {name!r}"
            raise AttributeError(msg) from None


def as_user(answer: object) -> User | None:
    """Return the user that an authenticate handler's answer describes; None when it says that there is none.

    Raises ConfigurationError for an answer that describes no user.
    """
    if not answer:
        return None
    if isinstance(answer, str):
        answer = {"identity": answer}
    if isinstance(answer, Mapping):
        fields = cast("Mapping[str, Any]", answer)
        given = GivenUser(fields) if isinstance(fields.get("identity"), str) else None
    else:
        given = answer
    identity = getattr(given, "identity", None)
    if not isinstance(identity, str) or not identity:
        raise ConfigurationError(
            "the @auth.authenticate handler answered a user without an identity; "
            'return a text, {"identity": "..."} or an object with the attribute `identity`'
        )
    # A user that says so of itself is none.
    if getattr(given, "is_authenticated", True) is False:
        return None
    return User(identity, tuple(getattr(given, "permissions", None) or ()), given)
