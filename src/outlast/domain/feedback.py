"""Addresses that allow one thing: to say something about one run under one key."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

#: The name of the key that signs them.
FEEDBACK_SECRET = "feedback"  # noqa: S105 - its name
_SIGNATURE_BYTES = 16


def feedback_path(secret: bytes, run_id: UUID, key: str) -> str:
    """Return the path to post to; who knows it needs no other permission."""
    named = key.encode("utf-8", "surrogatepass")
    token = urlsafe_b64encode(_signature(secret, run_id, named) + named).decode().rstrip("=")
    return f"/runs/{run_id}/feedback/{token}"


def key_of(secret: bytes, run_id: UUID, token: str) -> str | None:
    """Return the key that a token is for; None when it was not made for this run by us."""
    try:
        decoded = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except ValueError:
        return None
    signature, named = decoded[:_SIGNATURE_BYTES], decoded[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(secret, run_id, named)):
        return None
    return named.decode("utf-8", "replace")


def _signature(secret: bytes, run_id: UUID, named: bytes) -> bytes:
    return hmac.digest(secret, run_id.bytes + named, hashlib.sha256)[:_SIGNATURE_BYTES]
