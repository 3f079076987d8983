"""The stages of admission that ask the policies."""

from outlast.domain.admission import Stage
from outlast.policies.policing import Policing


def policy_stages(policing: Policing) -> tuple[Stage, Stage]:
    """Return the stages, to be asked one right behind the other; they cost nothing where no policy is about runs."""
    return Stage("policies", policing.admit), Stage("policies", policing.admit_changed)
