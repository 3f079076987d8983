"""Whether an object is still what it was when it was stored.

A message is changed in place more often than one would like. Comparing the encoded forms is exact and costs 1.5 us; for
most messages half of that is enough: a pydantic model whose fields are scalars or empty containers is unchanged
when every field is the very same object and the containers are still empty. The fields' values are kept, so
that a freed object's address cannot be mistaken for them. Everything else is fingerprinted.
"""

from operator import is_
from typing import Any

from pydantic import BaseModel

from outlast.agents.codec import Codec
from outlast.errors import StateNotSerializable

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_CONTAINERS = frozenset({list, dict, set})

# None: cannot change. A tuple: a model's fields, and which of them are containers. Bytes: a fingerprint.
Look = tuple[tuple[object, ...], tuple[object, ...]] | bytes | None


def look_at(codec: Codec, item: object) -> Look:
    """Remember what an item looks like now."""
    if type(item) in _SCALARS:
        return None
    if isinstance(item, BaseModel) and _is_plain(item):
        fields = tuple(item.__dict__.values())
        if all(type(field) in _SCALARS or (type(field) in _CONTAINERS and not field) for field in fields):
            return fields, tuple(field for field in fields if type(field) in _CONTAINERS)
    return codec.fingerprint(item)


def looks_same(codec: Codec, item: Any, look: Look) -> bool:
    """Whether the item still looks as it did."""
    if look is None:
        return True
    if type(look) is tuple:
        fields, containers = look
        now = item.__dict__
        return (
            len(now) == len(fields) and all(map(is_, now.values(), fields)) and not any(containers) and _is_plain(item)
        )
    return content_print(codec, item) == look


def same_content(codec: Codec, item: object, known: object) -> bool:
    """Whether another object has the same content, as after a reload or a copy."""
    if type(item) is not type(known):
        return False
    if type(item) in _SCALARS:
        # 0.0 equals -0.0, and is not the same.
        return item == known and (type(item) is not float or repr(item) == repr(known))
    mark = content_print(codec, item)
    return mark is not None and mark == content_print(codec, known)


def content_print(codec: Codec, item: object) -> bytes | None:
    """Return the item's fingerprint; None when it has become something that cannot be stored.

    Storing it then raises the error, which names the place.
    """
    try:
        return codec.fingerprint(item)
    except StateNotSerializable:
        return None


def _is_plain(item: BaseModel) -> bool:
    return not item.__pydantic_extra__ and not item.__pydantic_private__
