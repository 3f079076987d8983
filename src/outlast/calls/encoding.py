"""What calls need of the codec of states: the bytes of answers, results and arguments."""

from typing import Any, Protocol


class ValueCodec(Protocol):
    """Encodes what was answered so that it is read back exactly; `outlast.agents.codec.Codec` is one."""

    def encode(self, value: object, *, path: str) -> bytes:
        """Return the stored form; raises StateNotSerializable or StateTooLarge, which name `path`."""
        ...

    def decode(self, data: bytes, *, path: str) -> Any:
        """Return what was encoded; raises StateUnreadable."""
        ...

    def fingerprint(self, value: object) -> bytes:
        """Return 16 bytes that are equal exactly when the content is; raises StateNotSerializable."""
        ...
