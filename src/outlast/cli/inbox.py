"""`outlast inbox`: what people are asked, and their answers, straight in the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import orjson
import typer

from outlast.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from outlast.domain.question import Decision, Question, Word
    from outlast.inbox.inbox import Inbox

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at what people are asked, and answer it.")
Id = Annotated[str, typer.Argument(metavar="ID", help="The question's id, as `outlast inbox list` shows it.")]
Tenant = Annotated[str, typer.Option(help="Whose inbox.")]
As = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Who decides; for where that matters.")]
Message = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; a rejected agent is told.")]
Hash = Annotated[
    str | None,
    typer.Option("--hash", metavar="HASH", help="As `inbox show` says it: only if it is still exactly that."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class Status(StrEnum):
    """What became of a question."""

    OPEN = "open"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    ANY = "any"


@app.command("list")
def list_questions(
    *,
    status: Annotated[Status, typer.Option(help="Only questions in this state.")] = Status.OPEN,
    kind: Annotated[str | None, typer.Option(help="Only of this kind: review, tool_approval, budget...")] = None,
    agent: Annotated[str | None, typer.Option(help="Only questions of this agent.")] = None,
    assignee: Annotated[str | None, typer.Option(metavar="NAME", help="Only what is assigned to this person.")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only past their deadline.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="Without so many of the first.")] = 0,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """List what people are asked; what is due first comes first.

    A table on a terminal; through a pipe, lines of tab-separated columns.

    \b
    open        somebody waits for the answer
    answered    a person has decided
    expired     nobody has in time, so its default was taken
    withdrawn   nobody waits any more: the run was cancelled, or its thread has moved on

    \b
    Examples:
      outlast inbox list
      outlast inbox list --kind tool_approval --agent support
      outlast inbox list --assignee ann --overdue
      outlast inbox list --status any --json
    """
    from outlast.cli import printing, show_inbox
    from outlast.domain.question import QuestionStatus
    from outlast.inbox.views import line_of

    chosen = None if status is Status.ANY else QuestionStatus(status.value)
    found, total = _call(
        tenant,
        None,
        lambda inbox: inbox.find(
            status=chosen, kind=kind, agent=agent, assignee=assignee, overdue=overdue, limit=limit, offset=offset
        ),
    )
    if as_json:
        printing.json([line_of(question) for question in found])
    else:
        show_inbox.table(found, total)


@app.command()
def show(question: Id, *, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Show all that a decision needs.

    What is asked and why, exactly what is approved and its hash, the diff, who may answer, the deadline and what is
    decided when nobody does, comments, and what can be done next.

    \b
    Examples:
      outlast inbox show 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
      outlast inbox show 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e --json
    """
    from outlast.cli import printing, show_inbox
    from outlast.inbox.views import QuestionBody

    key = _id(question)
    found = _call(tenant, None, lambda inbox: inbox.get(key))
    if as_json:
        printing.json(QuestionBody.of(found))
    else:
        sys.stdout.write(show_inbox.details(found))


@app.command()
def approve(
    question: Id, *, message: Message = None, hash_: Hash = None, who: As = None, tenant: Tenant = "default"
) -> None:
    """Approve exactly what is shown.

    With --hash, nothing but what has this hash: if it is another question by now, nothing is decided.

    \b
    Examples:
      outlast inbox approve 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
      outlast inbox approve 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e --as ann
    """
    _decide(question, "approve", message=message, digest=hash_, who=who, tenant=tenant)


@app.command()
def reject(
    question: Id, *, message: Message = None, hash_: Hash = None, who: As = None, tenant: Tenant = "default"
) -> None:
    """Reject what is asked for.

    \b
    Examples:
      outlast inbox reject 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e --message "not without a receipt"
    """
    _decide(question, "reject", message=message, digest=hash_, who=who, tenant=tenant)


@app.command()
def answer(
    question: Id,
    value: Annotated[str, typer.Argument(metavar="JSON", help="The response; a text needs quotes.")],
    *,
    message: Message = None,
    hash_: Hash = None,
    who: As = None,
    tenant: Tenant = "default",
) -> None:
    """Answer a question with a value.

    A plain `interrupt()` returns the value as it is. Whoever asks for a decision gets it as a response; approve,
    reject and edit are commands of their own. The first answer counts; a second one is refused, and says who was first.

    \b
    Examples:
      outlast inbox answer 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e '"We refund it today."'
      outlast inbox answer 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e '{"city": "Bonn"}'
    """
    given = _json(value, "the answer")
    _decide(question, "respond", value=given, message=message, digest=hash_, who=who, tenant=tenant)


@app.command()
def edit(
    question: Id,
    *,
    value: Annotated[str | None, typer.Option(metavar="JSON", help="What it shall be instead.")] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The same from a file.")
    ] = None,
    message: Message = None,
    who: As = None,
    tenant: Tenant = "default",
) -> None:
    """Approve something else than what is asked for.

    Opens what is to be approved in your editor ($VISUAL or $EDITOR), as JSON; what you leave there when you close it is
    what is approved. Closed without a change, nothing is decided.

    \b
    Examples:
      outlast inbox edit 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
      outlast inbox edit 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e --value '{"order": 7, "amount": 20}'
      outlast inbox edit 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e --file edited.json
    """
    if value is not None and file is not None:
        raise typer.BadParameter("give either --value or --file")
    key, digest = _id(question), None
    if value is not None:
        edited = _json(value, "--value")
    elif file is not None:
        edited = _json(file.read_text(), str(file))
    else:
        found = _call(tenant, None, lambda inbox: inbox.get(key))
        # What was looked at: if it is another one when the editor is closed, nothing is approved.
        edited, digest = _edited(found), found.hash
    _decide(question, "edit", value=edited, message=message, digest=digest, who=who, tenant=tenant)


@app.command()
def assign(
    question: Id,
    to: Annotated[str | None, typer.Argument(metavar="NAME", help="Who is to answer; left out: nobody.")] = None,
    *,
    who: As = None,
    tenant: Tenant = "default",
) -> None:
    """Say who is to answer; nobody else's answer counts.

    \b
    Examples:
      outlast inbox assign 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e ann
      outlast inbox assign 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e         anybody may answer
    """
    key = _id(question)
    found = _call(tenant, who, lambda inbox: inbox.assign(key, to))
    typer.echo(f"question {key} is assigned to {found.assignee or 'nobody'}")


@app.command()
def comment(
    question: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What you want to say.")],
    *,
    who: As = None,
    tenant: Tenant = "default",
) -> None:
    """Say something to those who will answer.

    The agent does not see it.

    \b
    Examples:
      outlast inbox comment 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e "I have called the customer." --as ann
    """
    key = _id(question)
    _call(tenant, who, lambda inbox: inbox.comment(key, text))
    typer.echo(f"question {key} has your comment")


def _decide(
    question: str,
    word: "Word",
    *,
    value: Any = None,
    message: str | None,
    digest: str | None,
    who: str | None,
    tenant: str,
) -> None:
    from outlast.domain.question import Decision

    key, decision = _id(question), Decision(decision=word, value=value, message=message, hash=digest)
    found = _call(tenant, who, lambda inbox: inbox.answer(key, decision))
    typer.echo(_told(found, decision))


def _told(question: "Question", decision: "Decision") -> str:
    if question.status == "open":
        missing = question.needs - len(question.votes)
        return f"question {question.id}: your {decision.decision} counts; {missing} more is needed, by somebody else"
    return f"question {question.id} is {question.status}: {decision.decision}"


def _edited(question: "Question") -> Any:
    """Return what a person makes of the subject in an editor; raises Conflict when nothing was changed."""
    import click

    before = orjson.dumps(question.subject, option=orjson.OPT_INDENT_2).decode()
    after = click.edit(f"{before}\n", extension=".json", require_save=True)
    if after is None or (edited := _json(after, "what was edited")) == question.subject:
        raise Conflict(f"nothing was changed, so nothing is decided; `outlast inbox approve {question.id}` approves it")
    return edited


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        msg = f"{text!r} is no question's id; one looks like 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e, see `inbox list`"
        raise InvalidInput(msg, field="id") from error


def _json(text: str, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        msg = f"{what} is no JSON ({error}); a text needs quotes inside the shell's: '\"yes\"'"
        raise InvalidInput(msg, field="value") from error


def _call(tenant: str, who: str | None, action: "Callable[[Inbox], Awaitable[T]]") -> T:
    from outlast.admission.answering import Answering
    from outlast.cli.direct import call_with_pool
    from outlast.domain.access import checked_user
    from outlast.domain.acting import Principal, acting_for
    from outlast.inbox.inbox import Inbox
    from outlast.storage.postgres.audit import AuditLog
    from outlast.storage.postgres.inbox import InboxStore

    person = Principal(tenant=tenant, user=checked_user(who))

    async def act(queue: Any, pool: Any, settings: Any) -> T:
        answering = Answering(queue, gate=None)
        audit = AuditLog(pool, settings.audit.key.reveal().encode(), nobody="command line")
        inbox = Inbox(
            InboxStore(pool, queue.store), answering.prepare, answering.tell, audit,
            assignee_only=settings.inbox.assignee_only,
        )  # fmt: skip
        with acting_for(person):
            return await action(inbox)

    return call_with_pool(act)
