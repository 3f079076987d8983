"""The table `[encryption]`: what is stored cannot be read without a key that is not in the database."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from outlast.secret import Secret
from outlast.setting_branch import Branch


class EncryptionSettings(Branch):
    """Encryption of what is stored; off without a key."""

    master_key: Secret = Field(
        default=Secret(), description="32 random bytes in base64: `openssl rand -base64 32`; from a file or a variable"
    )
    old_master_keys: tuple[Secret, ...] = Field(
        default=(), description="master keys from before, until `outlast encryption rewrap` has been run"
    )
    provider: str = Field(
        default="", description="module:object of an outlast.KeyProvider (a KMS), in the place of master_key"
    )
    refresh: timedelta = Field(
        default=timedelta(seconds=10), gt=timedelta(0), description="new data keys are seen within this time"
    )
    batch: Annotated[int, Field(ge=1, le=10_000, description="rows that are encrypted anew in one step")] = 200
    pause: timedelta = Field(default=timedelta(seconds=1), description="between two such steps")

    @property
    def on(self) -> bool:
        """Whether there is a key."""
        return bool(self.master_key) or bool(self.provider)
