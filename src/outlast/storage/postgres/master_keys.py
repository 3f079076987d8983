"""Master keys that stand in a file or in the environment: a `KeyProvider` of our own."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from hashlib import sha256
from os import urandom
from typing import Final

from outlast.errors import ConfigurationError, Undecipherable
from outlast.secret import Secret

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_ID_BYTES: Final = 8


class MasterKeys:
    """Wraps with the first key, and unwraps what any of them has wrapped; the wrapped form names its key."""

    def __init__(self, key: Secret, old: Sequence[Secret] = ()) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - only where it is used

        keys = [_parsed(secret) for secret in (key, *old)]
        self._ciphers = {_id(key): AESGCM(key) for key in keys}
        self._first = _id(keys[0])
        self.name = f"key:{self._first.hex()}"

    @classmethod
    def of(cls, key: Secret | None) -> "MasterKeys | None":
        """Return what wraps with a key; None without one."""
        return None if key is None else cls(key)

    async def wrap(self, key: bytes, *, context: bytes) -> bytes:
        """Return the key as it may be stored."""
        nonce = urandom(_NONCE_BYTES)
        return self._first + nonce + self._ciphers[self._first].encrypt(nonce, key, self._first + context)

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Return what was wrapped; raises Undecipherable when none of the keys has wrapped it for this context."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above

        master, nonce = wrapped[:_ID_BYTES], wrapped[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
        cipher = self._ciphers.get(master)
        if cipher is None:
            msg = (
                f"a data key was wrapped by the master key {master.hex()}, which is not given; add it to "
                "encryption.old_master_keys, then run `outlast encryption rewrap`"
            )
            raise Undecipherable(msg)
        try:
            return cipher.decrypt(nonce, wrapped[_ID_BYTES + _NONCE_BYTES :], master + context)
        except InvalidTag as error:
            msg = "a wrapped data key was changed, or belongs to another tenant; restore the table data_keys"
            raise Undecipherable(msg) from error


def _parsed(secret: Secret) -> bytes:
    text = secret.reveal().strip()
    try:
        key = bytes.fromhex(text) if len(text) == _KEY_BYTES * 2 else b64decode(text, validate=True)
    except (Base64Error, ValueError):
        key = b""
    # Never the key itself, not even its beginning.
    if len(key) != _KEY_BYTES or len({*key}) < _KEY_BYTES // 4:
        msg = (
            "encryption.master_key has to be 32 random bytes in base64 (`openssl rand -base64 32`) or hexadecimal; a "
            "password is not enough"
        )
        raise ConfigurationError(msg)
    return key


def _id(key: bytes) -> bytes:
    return sha256(b"outlast master key\0" + key).digest()[:_ID_BYTES]
