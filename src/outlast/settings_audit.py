"""`[audit]`: the log of who did what."""

from datetime import timedelta
from typing import Final

from pydantic import Field, field_validator

from outlast.secret import Secret
from outlast.setting_branch import Branch

_SHORTEST_KEY: Final = 32


class AuditSettings(Branch):
    """The audit log."""

    key: Secret = Field(
        default=Secret(""),
        description="what its chain is signed with, at least 32 characters; empty: `.outlast/audit.key` where Outlast "
        "runs its own database, elsewhere the chain is not signed",
    )
    former_keys: tuple[Secret, ...] = Field(
        default=(), description="what it was signed with before, to verify older entries"
    )
    head_every: timedelta = Field(
        default=timedelta(hours=1), description="how often the ends of the logs are written to the process's own log"
    )

    @field_validator("key", "former_keys")
    @classmethod
    def _not_to_be_guessed(cls, given: "Secret | tuple[Secret, ...]") -> "Secret | tuple[Secret, ...]":
        for key in (given,) if isinstance(given, Secret) else given:
            if key and len(key) < _SHORTEST_KEY:
                msg = f"a key has at least {_SHORTEST_KEY} characters; `openssl rand -base64 32` makes one"
                raise ValueError(msg)
        return given
