"""Idempotency keys: the same request sent twice is one run."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self

import orjson

from outlast.admission.names import check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """A client's key for one request; the same key may be used on another route."""

    route: str
    key: str
    body_hash: bytes

    @classmethod
    def of(cls, route: str, key: str, body: Any) -> Self:
        """Bind a key to what was asked for; the order of fields and white space do not matter.

        Raises InvalidInput when the key is empty, too long or holds control characters.
        """
        check_name(key, field="Idempotency-Key")
        # Option by option, as an unsorted dict would hash differently for the same request.
        encoded = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        return cls(route=route, key=key, body_hash=blake2b(encoded, digest_size=16).digest())
