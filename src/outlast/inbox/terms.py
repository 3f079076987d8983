"""The terms of questions, as the settings say."""

from outlast.domain.question import Terms, TermsOf
from outlast.settings_inbox import AgentInboxSettings, InboxSettings

_NOTHING = AgentInboxSettings()


def terms_by(settings: InboxSettings) -> TermsOf:
    """Return what says the terms of an agent's questions that do not bring their own."""

    def terms_of(agent: str, _kind: str) -> Terms:
        own = settings.agents.get(agent, _NOTHING)
        deadline = own.deadline or settings.deadline
        return Terms(
            deadline_seconds=None if deadline is None else deadline.total_seconds(),
            default=own.default or settings.default,
            needs=own.needs or settings.needs,
            not_requester=settings.not_requester if own.not_requester is None else own.not_requester,
            assign_to=own.assign_to or settings.assign_to,
        )

    return terms_of
