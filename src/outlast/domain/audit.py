"""An entry of the audit log, and what chains it to the one before.

    hash = HMAC-SHA256(key, canonical JSON of the entry with the hash of the one before)

Whoever can write to the database, and does not have the key, can neither change an entry, nor leave one out, nor put
one in between, without `Chain` finding the place. What is cut off at the end shows only against a head that was kept
elsewhere: see `Head`.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

Detail: TypeAlias = str | int | float | bool | Sequence[str | int] | None

#: What the first entry of a tenant comes after.
NOTHING: Final = b""
#: Kinds of names that stand for people, of actors, objects and details: the log holds a pseudonym in their place, which
#: can be forgotten.
PERSONAL_KINDS: Final = frozenset({"user", "thread", "address"})
PRUNED: Final = "audit.pruned"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEY_NAME_BYTES: Final = 4
_LONGEST_DETAILS: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what to which thing. `actor` and `object` are `kind:name`, with pseudonyms for people and threads."""

    tenant: str
    seq: int
    at: datetime
    actor: str
    #: The API key that was used, by its public id.
    key_id: str | None
    #: As `key.revoked`, `budget.raised`.
    action: str
    object: str
    #: JSON as it was hashed.
    details: str
    #: Of what was decided upon (the arguments that were approved): whoever has it can prove it.
    payload_hash: bytes | None
    #: Which key made the hash, see `key_name`; empty: none, a plain SHA-256.
    mac_key: str
    previous: bytes
    hash: bytes = b""

    def sealed(self, key: bytes) -> "AuditEntry":
        """Return it with its hash."""
        named = replace(self, mac_key=key_name(key))
        return replace(named, hash=named.digest(key))

    def digest(self, key: bytes) -> bytes:
        """Return the hash that it has to have."""
        fields: list[Any] = [
            1, self.tenant, self.seq, (self.at - _EPOCH) // timedelta(microseconds=1), self.actor, self.key_id,
            self.action, self.object, self.details, None if self.payload_hash is None else self.payload_hash.hex(),
            self.mac_key, self.previous.hex(),
        ]  # fmt: skip
        return keyed_hash(key, json.dumps(fields, separators=(",", ":")).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a tenant's log ends. Kept elsewhere (the log of the process), it shows when entries were cut off."""

    tenant: str
    seq: int
    hash: bytes


def keyed_hash(key: bytes, content: bytes) -> bytes:
    """Return the HMAC, or without a key the hash."""
    return hmac.digest(key, content, "sha256") if key else hashlib.sha256(content).digest()


def key_name(key: bytes) -> str:
    """Return what tells keys apart and says nothing about them."""
    return hmac.digest(key, b"the name of an audit key", "sha256")[:_KEY_NAME_BYTES].hex() if key else ""


def encoded_details(details: Mapping[str, Detail]) -> str:
    """Return the JSON that is hashed and stored.

    Raises ValueError when it is longer than 4,000 characters: an entry says what was done and is no place for data.
    """
    text = json.dumps(details, separators=(",", ":"), sort_keys=True, allow_nan=False, default=_plain)
    if len(text) > _LONGEST_DETAILS:
        msg = f"the details of an audit entry have {len(text):,} characters; at most {_LONGEST_DETAILS:,} are kept"
        raise ValueError(msg)
    return text


def _plain(value: object) -> object:
    if isinstance(value, UUID | datetime):
        return str(value)
    msg = f"an audit entry holds names and figures, and no {type(value).__name__}"
    raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Where a chain is not as it was written. `seq` is the entry at which it shows."""

    tenant: str
    seq: int
    #: changed, gap, cut_off, unsigned, unknown_key, beginning
    kind: str
    message: str


@dataclass(slots=True, kw_only=True)
class Chain:
    """Checks the entries of one tenant, in order. `keys`: by name, the present one and those of before."""

    tenant: str
    keys: Mapping[str, bytes]
    #: What was deleted by age, and the hash that the chain goes on from.
    base_seq: int = 0
    base_hash: bytes = NOTHING
    problems: list[Problem] = field(default_factory=list[Problem])
    entries: int = 0
    #: Entries that anybody could have written: those from before there was a key.
    unsigned: int = 0
    seq: int = field(init=False)
    _hash: bytes = field(init=False)
    _signed: bool = False
    _pruned: bool = False

    def __post_init__(self) -> None:
        """Begin where the chain begins."""
        self.seq, self._hash = self.base_seq, self.base_hash

    def add(self, entry: AuditEntry) -> None:
        """Check the next entry against the one before."""
        self.entries += 1
        if entry.seq != self.seq + 1:
            self._found(entry.seq, "gap", f"entries {self.seq + 1} to {entry.seq - 1} are missing")
        elif entry.previous != self._hash:
            self._found(
                entry.seq, "changed", "it does not continue the entry before, which is not the one written then"
            )
        self._check_hash(entry)
        if entry.action == PRUNED:
            self._check_pruned(entry)
        self.seq, self._hash = entry.seq, entry.hash

    def end(self, stored: Head, kept: Sequence[Head] = ()) -> list[Problem]:
        """Return what is wrong, once all entries were added. `kept`: heads from elsewhere, see `Head`."""
        if (stored.seq, stored.hash) != (self.seq, self._hash):
            self._found(stored.seq, "cut_off", f"the log ends at entry {self.seq} and its head says {stored.seq}")
        if self.base_seq and not self._pruned:
            self._found(self.base_seq + 1, "beginning", f"entries up to {self.base_seq} are gone and no entry says why")
        if self.unsigned and self.keys and not self._signed:
            self._found(self.seq, "unsigned", "a key is set and no entry is signed with it")
        for head in kept:
            if head.seq > self.seq:
                self._found(head.seq, "cut_off", f"entry {head.seq} was there once; the log ends at {self.seq}")
        return self.problems

    def compare(self, entry: AuditEntry, head: Head) -> None:
        """Check an entry against what was kept of it elsewhere."""
        if entry.hash != head.hash:
            self._found(entry.seq, "changed", "it is not the one whose hash was kept")

    def _check_hash(self, entry: AuditEntry) -> None:
        if not entry.mac_key:
            self.unsigned += 1
            if self._signed:
                self._found(entry.seq, "unsigned", "entries before it are signed, and this one is not")
        key = self.keys.get(entry.mac_key, b"") if entry.mac_key else b""
        if entry.mac_key and not key:
            self._found(
                entry.seq, "unknown_key", f"it is signed with key {entry.mac_key}; give it in audit.former_keys"
            )
            return
        self._signed = self._signed or bool(entry.mac_key)
        if not hmac.compare_digest(entry.digest(key), entry.hash):
            self._found(entry.seq, "changed", "its content is not what was hashed")

    def _check_pruned(self, entry: AuditEntry) -> None:
        details = json.loads(entry.details)
        if (details.get("until"), details.get("hash")) == (self.base_seq, self.base_hash.hex()):
            self._pruned = True

    def _found(self, seq: int, kind: str, message: str) -> None:
        self.problems.append(Problem(tenant=self.tenant, seq=seq, kind=kind, message=message))


def keyring(present: bytes, former: Sequence[bytes]) -> dict[str, bytes]:
    """Return the keys by name."""
    return {key_name(key): key for key in (*former, present) if key}
