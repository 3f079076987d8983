"""Idempotency keys: the same request sent twice is one run."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from outlast.admission.names import check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """A client's key for one request; the same key may be used on another route."""

    route: str
    key: str
    body_hash: bytes

    @classmethod
    def of(cls, route: str, key: str, body: bytes) -> Self:
        """Bind a key to a request's body, byte for byte: a client that repeats a request sends what it sent.

        Raises InvalidInput when the key is empty, too long or holds control characters.
        """
        check_name(key, field="Idempotency-Key")
        return cls(route=route, key=key, body_hash=blake2b(body, digest_size=16).digest())
