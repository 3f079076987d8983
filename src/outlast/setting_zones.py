"""The name of a time zone, as settings give it."""

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator


def _known(name: str) -> str:
    try:
        ZoneInfo(name)
    # A name with a NUL or a path is a ValueError, an unknown one a KeyError.
    except (KeyError, ValueError, OSError) as error:
        msg = f"{name!r} is no time zone; names look like Europe/Berlin"
        raise ValueError(msg) from error
    return name


ZoneName = Annotated[str, AfterValidator(_known)]
