"""The terms of questions, as `[inbox]` says."""

from datetime import timedelta

import pytest

from outlast import settings
from outlast.domain.question import Terms
from outlast.errors import ConfigurationError
from outlast.inbox.terms import terms_by


def test_an_agents_own_terms_go_before_the_general_ones() -> None:
    given = settings.load(
        project={
            "inbox": {
                "deadline": "3600", "default": "reject", "not_requester": True,
                "agents": {"support": {"deadline": "60", "needs": 2, "not_requester": False, "assign_to": "ann"}},
            }
        }
    ).inbox  # fmt: skip
    terms_of = terms_by(given)
    assert terms_of("other", "interrupt") == Terms(deadline_seconds=3600, default="reject", not_requester=True)
    assert terms_of("support", "interrupt") == Terms(
        deadline_seconds=60, default="reject", needs=2, assign_to="ann", not_requester=False
    )
    assert given.remind == timedelta(days=1)


@pytest.mark.parametrize(
    "wrong", [{"needs": 3}, {"default": "edit"}, {"deadline": "0"}, {"agents": {"a": {"need": 2}}}]
)
def test_terms_that_there_are_not_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="inbox"):
        settings.load(project={"inbox": wrong})
