"""What the tables of `outlast.toml` have in common."""

from pydantic import BaseModel, ConfigDict, model_validator

from outlast import setting_names


class Branch(BaseModel):
    """A table: frozen, closed to unknown names, and with durations that may be written as a number in a text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _seconds_of_text(cls, given: object) -> object:
        return setting_names.seconds_of_text(cls, given)
