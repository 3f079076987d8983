"""The check of the thread's id."""

from dataclasses import replace

import uuid_utils.compat as uuid_utils

from outlast.admission.names import check_name
from outlast.admission.request import RunRequest


def usable_thread(request: RunRequest) -> RunRequest:
    """Check the thread's id, or make one: a UUIDv7, which nobody guesses."""
    if request.thread_id is None:
        return replace(request, thread_id=str(uuid_utils.uuid7()))
    check_name(request.thread_id, field="thread_id")
    return request
