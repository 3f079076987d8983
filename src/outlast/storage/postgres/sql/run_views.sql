-- Runs as the clients of the Agent Server API see them, with what they were started with. A run is authorised through its
-- thread; a NULL `access` is no filter.

-- name: one
SELECT r.id, t.thread_id, r.agent, r.status, r.priority, r.epoch, r.errors, r.crashes, r.max_attempts,
       r.created_at, r.available_at, r.started_at, r.ended_at, r.cancel_requested_at, d.metadata, d.output,
       d.interrupts, d.error_code, d.error_message, d.completed, d.total, d.progress_at, r.worker_id, NULL::integer,
       r.claimed_at, d.options, d.assistant_id, d.multitask, r.cancel_action, d.cancel_reason, d.temporary, d.webhook,
       d.last_pos, d.input, d.config, d.approval
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key
LEFT JOIN thread_details td ON td.thread_key = r.thread_key
WHERE r.id = %(id)s
  AND (%(thread_key)s::uuid IS NULL OR r.thread_key = %(thread_key)s)
  AND (%(access)s::jsonpath IS NULL OR coalesce(td.metadata, '{}') @@ %(access)s::jsonpath);

-- part: listed
-- Outputs are left out: a list shows none, and each may be a whole conversation.
SELECT r.id, t.thread_id, r.agent, r.status, r.priority, r.epoch, r.errors, r.crashes, r.max_attempts,
       r.created_at, r.available_at, r.started_at, r.ended_at, r.cancel_requested_at, d.metadata, NULL::bytea,
       d.interrupts, d.error_code, d.error_message, d.completed, d.total, d.progress_at, r.worker_id, NULL::integer,
       r.claimed_at, d.options, d.assistant_id, d.multitask, r.cancel_action, d.cancel_reason, d.temporary, d.webhook,
       d.last_pos, d.input, d.config, d.approval
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key

-- name: of_thread
-- Newest first.
--include listed
WHERE r.thread_key = %(thread_key)s AND t.deleted_at IS NULL
  AND (%(statuses)s::text[] IS NULL OR r.status = ANY(%(statuses)s))
  AND (%(timed_out)s::boolean IS NULL OR (coalesce(d.error_code, '') = 'timed_out') = %(timed_out)s)
ORDER BY r.created_at DESC, r.id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: of_ids
--include listed
WHERE r.id = ANY(%(ids)s);
