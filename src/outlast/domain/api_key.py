"""API keys: `ok_<key id>_<secret>`.

The key id is public: it stands in lists, logs and audit entries. The secret is 32 random bytes, told once and kept
nowhere; what is stored is its SHA-256. That needs no slow hash: nobody guesses 256 random bits.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

_PREFIX: Final = "ok_"
_ID_BYTES: Final = 10
_SECRET_BYTES: Final = 32
# Lower case base32 for the id, which people read aloud; base64url for the secret, 43 characters.
_ID: Final = re.compile(r"[a-z2-7]{16}")
_FORM: Final = re.compile(r"ok_([a-z2-7]{16})_([A-Za-z0-9_-]{43})")

KeyState = Literal["live", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class Minted:
    """A new key; `text` is what its owner gets, and nobody ever again."""

    key_id: str
    text: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Presented:
    """A key as somebody has sent it."""

    key_id: str
    digest: bytes

    def matches(self, digest: bytes) -> bool:
        """Whether it is the key of this hash, in a time that tells nothing."""
        return hmac.compare_digest(self.digest, digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of a key: everything but its secret."""

    key_id: str
    tenant: str
    user: str | None
    name: str | None
    scopes: frozenset[str]
    state: KeyState
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    #: To about ten minutes; None: never.
    last_used_at: datetime | None
    #: The key that has replaced it.
    replaced_by: str | None


def mint() -> Minted:
    """Return a new key."""
    key_id = base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode().lower()
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return Minted(key_id, f"{_PREFIX}{key_id}_{secret}", _digest(secret))


def looks_like_key(text: str) -> bool:
    """Whether a credential is meant to be one of our keys, well-formed or not."""
    return text.startswith(_PREFIX)


def parse(text: str) -> Presented | None:
    """Return the parts of a key; None when it has not the form of one."""
    found = _FORM.fullmatch(text)
    return None if found is None else Presented(found[1], _digest(found[2]))


def key_id_of(text: str) -> str | None:
    """Return the public id that somebody means, who may have given the whole key; None when it is none."""
    presented = parse(text)
    if presented is not None:
        return presented.key_id
    return text if _ID.fullmatch(text) else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
