"""Answers the open questions of a thread, one after the other, and may be killed on the way: URL THREAD USER."""

import asyncio
import os
import sys

from outlast import telemetry
from outlast.admission.answering import resuming
from outlast.domain.acting import Principal, acting_for
from outlast.domain.question import Decision
from outlast.inbox.inbox import Inbox
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.inbox import InboxStore
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore


def inbox_on(pool: Pool) -> Inbox:
    """An inbox that tells nobody: workers find what goes on by themselves."""
    runs = RunStore(pool)

    async def prepare(run_id, answers):
        return resuming(await runs.get(run_id), answers)

    return Inbox(InboxStore(pool, runs), prepare, lambda *_: None, AuditLog(pool))


async def main(url: str, thread: str, user: str) -> None:
    telemetry.arm(os.environ["OUTLAST_FAULT"])
    pool = Pool(DatabaseSettings(url=url, pool_size=2), application_name="answering")
    await pool.open()
    inbox = inbox_on(pool)
    with acting_for(Principal(user=user)):
        for question in (await inbox.find(status="open", thread_id=thread))[0]:
            await inbox.answer(question.id, Decision(decision="respond", value=f"{question.question} {user}"))
    await pool.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
