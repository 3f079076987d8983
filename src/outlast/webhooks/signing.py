"""Signatures by Standard Webhooks (standardwebhooks.com): the receiver knows who sent it, and when."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from datetime import datetime
from uuid import UUID

from outlast.errors import ConfigurationError

#: The name of the key that signs when the settings name none.
WEBHOOK_SECRET = "webhooks"  # noqa: S105 - its name
_PREFIX = "whsec_"
_SHORTEST = 24


def signed(secret: bytes, delivery_id: UUID, sent_at: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers that a receiver verifies."""
    timestamp = str(int(sent_at.timestamp()))
    signature = hmac.digest(secret, b".".join((str(delivery_id).encode(), timestamp.encode(), body)), hashlib.sha256)
    return {
        "webhook-id": str(delivery_id),
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{b64encode(signature).decode()}",
    }


def parse_secret(text: str) -> bytes:
    """Return the key of a `whsec_...`; raises ConfigurationError when it is none, or a short one."""
    try:
        secret = b64decode(text.removeprefix(_PREFIX), validate=True)
    except ValueError as error:
        msg = "webhooks.secret is not whsec_ and base64; make one with: openssl rand -base64 32"
        raise ConfigurationError(msg) from error
    if len(secret) < _SHORTEST:
        msg = f"webhooks.secret has {len(secret)} bytes, at least {_SHORTEST} are needed: openssl rand -base64 32"
        raise ConfigurationError(msg)
    return secret
