"""What wraps the keys with which data is encrypted: `outlast.KeyProvider`.

A data key is made for each tenant and stored wrapped. Whoever has the database alone cannot unwrap it; a key management
service (KMS) that never gives its own key away fits as well as a key in a file.

    class Vault:
        name = "vault:transit/outlast"

        async def wrap(self, key: bytes, *, context: bytes) -> bytes: ...
        async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes: ...
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class KeyProvider(Protocol):
    """Wraps and unwraps data keys of 32 bytes; named in `encryption.provider` as `module:object`.

    `object` is the provider, or a function or class without arguments that makes one. `context` says whose key it is:
    what was wrapped with one context must not be unwrapped with another (associated data, encryption context). Whatever
    is raised counts as a service that is away: nothing that needs the key is read or written meanwhile.
    """

    #: Which master key wraps from now on, as `outlast encryption status` shows it; another name asks for a `rewrap`.
    name: str

    async def wrap(self, key: bytes, *, context: bytes) -> bytes:
        """Return the key as it may be stored."""
        ...

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Return what was wrapped, by this master key or by an earlier one."""
        ...
