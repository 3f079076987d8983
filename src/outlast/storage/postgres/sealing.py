"""Content of rows, encrypted on its way into the database and decrypted on its way out.

A sealed value is `0xC1, version, key id (16 bytes), nonce (12 bytes), AES-256-GCM ciphertext and tag`. No msgpack and
no UTF-8 begins with 0xC1, so what is sealed is never taken for plain content. Associated data are the tenant, the
column, the row's identity and the key's id: a value that is moved to another row, column or tenant does not open. In
text and JSON columns the same bytes stand in base64 behind `sealed:`.

`Sealing` itself is for a database that is not encrypted: it returns what it is given.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import urandom
from typing import Any, Final, Protocol
from uuid import UUID

import orjson

from outlast.domain.acting import tenant_now
from outlast.errors import Undecipherable

MAGIC: Final = b"\xc1\x01"
_KEY_AT: Final = len(MAGIC)
_NONCE_AT: Final = _KEY_AT + 16
_SEALED_AT: Final = _NONCE_AT + 12
_SHORTEST: Final = _SEALED_AT + 16
_TEXT: Final = "sealed:"
# So many of base64 hold magic and key id, without a rest.
_HEAD_CHARACTERS: Final = 24
#: Of what belongs to no tenant: shared secrets, and what was said where nobody knows for whom.
NOBODY: Final = ""
#: Beside the id of a question that is sealed.
_QUESTION: Final = "sealed"

Part = bytes | UUID | str | int | None


@dataclass(frozen=True, slots=True)
class Place:
    """A column whose content is sealed, under the name that is part of its associated data."""

    name: str


class Cipher(Protocol):
    """An AES-256-GCM of `cryptography`."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return ciphertext and tag."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return the data; raises InvalidTag."""
        ...


@dataclass(frozen=True, slots=True)
class DataKey:
    """An unwrapped key of a tenant."""

    id: UUID
    tenant: str
    cipher: Cipher


class Keys(Protocol):
    """The keys that a process knows."""

    @property
    def accepts_plain(self) -> bool:
        """Whether the database is being encrypted, so that plain content is still to be expected."""
        ...

    async def active(self, tenant: str) -> DataKey:
        """Return the key that seals for a tenant now; made when there is none."""
        ...

    def active_now(self, tenant: str) -> DataKey | None:
        """Return it if this process knows it."""
        ...

    async def of_id(self, key_id: UUID) -> DataKey | None:
        """Return any key; None when there is no such key (any more)."""
        ...

    async def destroy(self, tenant: str) -> int:
        """Delete every key of a tenant; return how many."""
        ...


class Sealing:
    """Seals nothing. Both forms have the same methods; None stays None."""

    #: Whether anything is sealed: what costs something else than a call is left out where it is not.
    on: bool = False

    async def ready_like(self, data: bytes) -> None:
        """Know the key of the tenant that has sealed this, for `seal_now`."""

    async def active_ids(self, *tenants: str) -> set[UUID]:  # noqa: ARG002
        """Return the keys with which content of these tenants is sealed now."""
        return set()

    async def destroy(self, tenant: str) -> int:  # noqa: ARG002
        """Delete every key of a tenant, after which nobody can read what they have sealed; return how many."""
        return 0

    async def seal(self, place: Place, data: bytes | None, *identity: Part) -> bytes | None:  # noqa: ARG002
        """Return the content of a row as it is stored."""
        return data

    def seal_now(self, place: Place, data: bytes, *identity: Part) -> bytes:  # noqa: ARG002
        """Do it where nothing can be waited for; with nobody's key where the tenant's is not known yet."""
        return data

    async def open(self, place: Place, data: bytes | None, *identity: Part) -> bytes | None:  # noqa: ARG002
        """Return what is stored as it was; raises Undecipherable."""
        return data

    async def seal_text(self, place: Place, text: str | None, *identity: Part) -> str | None:  # noqa: ARG002
        """Return a text as it is stored."""
        return text

    async def open_text(self, place: Place, text: str | None, *identity: Part) -> str | None:  # noqa: ARG002
        """Return a stored text as it was; raises Undecipherable."""
        return text

    async def seal_json(self, place: Place, value: Any, *identity: Part) -> Any:  # noqa: ARG002
        """Return a value as it stands in a jsonb column."""
        return value

    async def open_json(self, place: Place, value: Any, *identity: Part) -> Any:  # noqa: ARG002
        """Return a value of a jsonb column as it was; raises Undecipherable."""
        return value

    async def seal_questions(
        self, place: Place, questions: Sequence[Mapping[str, Any]] | None, *identity: Part  # noqa: ARG002
    ) -> Sequence[Mapping[str, Any]] | None:  # fmt: skip
        """Return what is asked as it stands in a jsonb column: ids stay readable, for who answers them."""
        return questions

    async def open_questions(
        self, place: Place, questions: Sequence[Mapping[str, Any]] | None, *identity: Part  # noqa: ARG002
    ) -> Any:  # fmt: skip
        """Return what is asked as it was; raises Undecipherable."""
        return questions


#: For a database that is not encrypted.
OFF: Final = Sealing()


class Sealed(Sealing):
    """Seals with the keys of the tenant for which the context acts."""

    on = True

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def ready_like(self, data: bytes) -> None:
        """Know the key of the tenant that has sealed this, for `seal_now`."""
        key_id = key_of(data)
        key = None if key_id is None else await self._keys.of_id(key_id)
        if key is not None:
            await self._keys.active(key.tenant)

    async def active_ids(self, *tenants: str) -> set[UUID]:
        """Return the keys with which content of these tenants is sealed now."""
        return {(await self._keys.active(tenant)).id for tenant in tenants}

    async def destroy(self, tenant: str) -> int:
        """Delete every key of a tenant, after which nobody can read what they have sealed; return how many."""
        return await self._keys.destroy(tenant)

    async def seal(self, place: Place, data: bytes | None, *identity: Part) -> bytes | None:
        """Return the content of a row as it is stored; raises DatabaseUnavailable, or what the KeyProvider raises."""
        if data is None:
            return None
        return sealed(await self._keys.active(tenant_now() or NOBODY), place, data, identity)

    def seal_now(self, place: Place, data: bytes, *identity: Part) -> bytes:
        """Do it where nothing can be waited for; with nobody's key where the tenant's is not known yet."""
        key = self._keys.active_now(tenant_now() or NOBODY) or self._keys.active_now(NOBODY)
        if key is None:
            msg = "the keys of this process are closed; nothing can be encrypted any more"
            raise Undecipherable(msg)
        return sealed(key, place, data, identity)

    async def open(self, place: Place, data: bytes | None, *identity: Part) -> bytes | None:
        """Return what is stored as it was; raises Undecipherable."""
        if data is None:
            return None
        key_id = key_of(data)
        if key_id is None:
            if self._keys.accepts_plain:
                return data
            msg = f"{place.name} of {_named(identity)} is not encrypted, though everything in this database has to be"
            raise Undecipherable(msg)
        key = await self._keys.of_id(key_id)
        if key is None:
            msg = f"{place.name} of {_named(identity)} was encrypted with key {key_id}, which is gone"
            raise Undecipherable(msg)
        return opened(key, place, data, identity)

    async def seal_text(self, place: Place, text: str | None, *identity: Part) -> str | None:
        """Return a text as it is stored."""
        if text is None:
            return None
        return as_text(await self.seal(place, text.encode("utf-8", "surrogatepass"), *identity) or b"")

    async def open_text(self, place: Place, text: str | None, *identity: Part) -> str | None:
        """Return a stored text as it was; raises Undecipherable."""
        if text is None:
            return None
        data = of_text(text)
        opened_ = await self.open(place, text.encode() if data is None else data, *identity)
        return None if opened_ is None else opened_.decode("utf-8", "surrogatepass")

    async def seal_json(self, place: Place, value: Any, *identity: Part) -> Any:
        """Return a value as it stands in a jsonb column."""
        if value is None:
            return None
        return await self.seal_text(place, orjson.dumps(value).decode(), *identity)

    async def open_json(self, place: Place, value: Any, *identity: Part) -> Any:
        """Return a value of a jsonb column as it was; raises Undecipherable."""
        # What a column has by default tells nothing.
        if value is None or value == {}:
            return value
        data = of_text(value) if isinstance(value, str) else None
        return orjson.loads(await self.open(place, orjson.dumps(value) if data is None else data, *identity) or b"null")

    async def seal_questions(
        self, place: Place, questions: Sequence[Mapping[str, Any]] | None, *identity: Part
    ) -> Sequence[Mapping[str, Any]] | None:
        """Return what is asked as it stands in a jsonb column: ids stay readable, for who answers them."""
        if questions is None:
            return None
        return [
            {"id": question.get("id"), _QUESTION: await self.seal_json(place, dict(question), *identity)}
            for question in questions
        ]

    async def open_questions(
        self, place: Place, questions: Sequence[Mapping[str, Any]] | None, *identity: Part
    ) -> Any:  # fmt: skip
        """Return what is asked as it was; raises Undecipherable."""
        if questions is None:
            return None
        return [await self._question(place, question, identity) for question in questions]

    async def _question(self, place: Place, question: Mapping[str, Any], identity: tuple[Part, ...]) -> Any:
        # An id alone is what an answer was given to.
        if set(question) == {"id"}:
            return question
        return await self.open_json(place, question.get(_QUESTION, question), *identity)


def sealed(key: DataKey, place: Place, data: bytes, identity: Sequence[Part]) -> bytes:
    """Encrypt with a key."""
    nonce = urandom(12)
    return b"".join((
        MAGIC, key.id.bytes, nonce, key.cipher.encrypt(nonce, data, _associated(key, place, identity))
    ))  # fmt: skip


def opened(key: DataKey, place: Place, data: bytes, identity: Sequence[Part]) -> bytes:
    """Decrypt with the key that is named in the data; raises Undecipherable."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only where something is encrypted

    try:
        return key.cipher.decrypt(data[_NONCE_AT:_SEALED_AT], data[_SEALED_AT:], _associated(key, place, identity))
    except InvalidTag as error:
        msg = f"{place.name} of {_named(identity)} was changed, or belongs to another row"
        raise Undecipherable(msg) from error


def key_of(data: bytes) -> UUID | None:
    """Return the id of the key with which this was sealed; None when it was not."""
    return key_of_head(data) if len(data) >= _SHORTEST else None


def key_of_head(head: bytes) -> UUID | None:
    """Do it for the beginning of a value."""
    if not head.startswith(MAGIC) or len(head) < _NONCE_AT:
        return None
    return UUID(bytes=bytes(head[_KEY_AT:_NONCE_AT]))


def key_of_text(head: str) -> UUID | None:
    """Do it for the beginning of a text."""
    if not head.startswith(_TEXT):
        return None
    try:
        return key_of_head(b64decode(head[len(_TEXT) : len(_TEXT) + _HEAD_CHARACTERS], validate=True))
    except (Base64Error, ValueError):
        return None


def key_of_question(question: Mapping[str, Any]) -> UUID | None:
    """Do it for a question in a list."""
    return key_of_text(str(question.get(_QUESTION, "")))


def as_text(data: bytes) -> str:
    """Return what was sealed as it stands in a text."""
    return _TEXT + b64encode(data).decode()


def of_text(text: str) -> bytes | None:
    """Return what was sealed; None when the text was not."""
    if not text.startswith(_TEXT):
        return None
    try:
        data = b64decode(text.removeprefix(_TEXT), validate=True)
    except (Base64Error, ValueError):
        return None
    return data if key_of(data) is not None else None


def _associated(key: DataKey, place: Place, identity: Sequence[Part]) -> bytes:
    # Each part with its length: no two lists of parts give the same bytes.
    parts = [key.tenant.encode(), place.name.encode(), key.id.bytes, *map(_part, identity)]
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def _part(part: Part) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, UUID):
        return part.bytes
    return b"" if part is None else str(part).encode("utf-8", "surrogatepass")


def _named(identity: Sequence[Part]) -> str:
    shown = [str(UUID(bytes=part)) if isinstance(part, bytes) and len(part) == 16 else part for part in identity]  # noqa: PLR2004 - a UUID
    return "/".join(part.hex() if isinstance(part, bytes) else str(part) for part in shown)
