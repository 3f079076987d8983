"""The policies that the settings name, in their order."""

import inspect
from collections.abc import Callable, Mapping
from typing import Final

from outlast.errors import ConfigurationError
from outlast.policies.hours import WorkingHours
from outlast.policies.models import AllowedModels
from outlast.policies.patterns import BlockedPatterns
from outlast.policies.personal_data import PersonalData
from outlast.policies.policy import Policy
from outlast.policies.runs import RunLimits
from outlast.policies.tools import AllowedTools
from outlast.settings_policies import PolicySettings

#: Returns what stands at a place of the project, as `./policies.py:NoFridays`; raises ConfigurationError.
Load = Callable[[str], object]

_BUILT_IN: Final[Mapping[str, Callable[[PolicySettings], Policy]]] = {
    "hours": lambda settings: WorkingHours(settings.hours),
    "runs": lambda settings: RunLimits(settings.runs),
    "patterns": lambda settings: BlockedPatterns(
        settings.patterns, timeout_seconds=settings.pattern_timeout.total_seconds()
    ),
    "personal_data": lambda settings: PersonalData(settings.personal_data),
    "models": lambda settings: AllowedModels(settings.models),
    "tools": lambda settings: AllowedTools(settings.tools),
}


def build(settings: PolicySettings, *, load: Load) -> list[Policy]:
    """Return the policies in their order; those of the tables that say nothing are left out.

    Raises ConfigurationError when a policy cannot be loaded, or when a table says something that the order leaves out.
    """
    configured = [name for name in _BUILT_IN if _says_something(settings, name)]
    if not settings.order:
        return [_BUILT_IN[name](settings) for name in configured]
    if missing := [name for name in configured if name not in settings.order]:
        msg = f"policies.order leaves out {', '.join(missing)}, but [policies.{missing[0]}] is set; add it to the order"
        raise ConfigurationError(msg)
    wanted = [name for name in settings.order if name in configured or name not in _BUILT_IN]
    return [_BUILT_IN[name](settings) if name in _BUILT_IN else loaded(name, load) for name in wanted]


def loaded(place: str, load: Load) -> Policy:
    """Return a policy of the project's own, made anew; raises ConfigurationError."""
    where = f"policies.order: {place!r}"
    if ":" not in place:
        msg = f"{where} is no built-in policy ({', '.join(_BUILT_IN)}), and no place as './policies.py:NoFridays'"
        raise ConfigurationError(msg)
    found = load(place)
    if isinstance(found, Policy):
        return found
    if not (inspect.isclass(found) and issubclass(found, Policy)):
        msg = f"{where} is no outlast.Policy; write `class NoFridays(outlast.Policy)` with a method `decide`"
        raise ConfigurationError(msg)
    try:
        return found()
    # Whatever a constructor of the user's raises.
    except Exception as error:
        msg = f"{where} cannot be made: {type(error).__name__}: {error}; it gets no arguments"
        raise ConfigurationError(msg) from error


def _says_something(settings: PolicySettings, name: str) -> bool:
    match name:
        case "hours":
            return settings.hours.opens is not None
        case "personal_data":
            return settings.personal_data.found != "nothing"
        case _:
            table = getattr(settings, name)
            return bool(table) and table != type(table)()
