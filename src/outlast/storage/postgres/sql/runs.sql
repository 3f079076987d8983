-- Statements of the queue: what is claimed, looked at and repaired. How a run is taken in and how it ends is told by
-- run_intake.sql and run_ends.sql. Lock order everywhere: the thread's row first, then runs.

-- name: claim
-- SKIP LOCKED lets workers pass each other; without it the fleet claims one run at a time. MATERIALIZED, because
-- the planner may otherwise join in an order that updates more rows than LIMIT. now() is this statement's time, as it is
-- a transaction of its own. A worker that was declared dead claims nothing.
WITH due AS MATERIALIZED (
    SELECT id
    FROM runs
    WHERE status = 'queued'
      AND available_at <= now()
      AND crashes < %(max_crashes)s
      AND cancel_requested_at IS NULL
      AND agent = ANY(%(agents)s)
      AND EXISTS (SELECT FROM workers WHERE id = %(worker_id)s AND state = 'live')
    ORDER BY priority DESC, available_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE runs r
    SET status = 'running', epoch = r.epoch + 1, worker_id = %(worker_id)s,
        claimed_at = clock_timestamp(), started_at = coalesce(r.started_at, clock_timestamp())
    FROM due
    WHERE r.id = due.id
    RETURNING r.*
)
SELECT c.id, c.epoch, t.thread_id, c.thread_key, c.agent, d.input, d.config, d.metadata, c.errors, c.crashes,
       c.max_attempts, c.timeout_seconds, d.answer, d.waiting_at,
       -- The run owns its thread now, so a thread without state stays so until the run itself writes.
       EXISTS (SELECT FROM checkpoint_heads h WHERE h.thread_key = c.thread_key) AS has_state,
       CASE WHEN d.answer IS NOT NULL THEN d.interrupts END AS asked,
       c.claimed_at, d.options, d.assistant_id, d.temporary, coalesce(td.last_pos, 0) AS thread_last_pos,
       EXISTS (
           SELECT FROM thread_watches w WHERE w.thread_key = c.thread_key AND w.until > clock_timestamp()
       ) AS watched,
       coalesce(d.lineage, c.id) AS lineage,
       -- How long its time has been going on.
       extract(epoch FROM c.claimed_at - greatest(d.resumed_at, c.started_at))::float8 AS seconds,
       c.tenant, d.user_id, d.key_id
FROM claimed c
JOIN run_details d ON d.run_id = c.id
JOIN threads t ON t.key = c.thread_key
LEFT JOIN thread_details td ON td.thread_key = c.thread_key
ORDER BY c.priority DESC, c.available_at, c.id;

-- name: claimed
-- What `claim` answered, once more, for the process that executes one suspect run by itself.
SELECT r.id, r.epoch, t.thread_id, r.thread_key, r.agent, d.input, d.config, d.metadata, r.errors, r.crashes,
       r.max_attempts, r.timeout_seconds, d.answer, d.waiting_at,
       EXISTS (SELECT FROM checkpoint_heads h WHERE h.thread_key = r.thread_key) AS has_state,
       CASE WHEN d.answer IS NOT NULL THEN d.interrupts END AS asked,
       r.claimed_at, d.options, d.assistant_id, d.temporary, coalesce(td.last_pos, 0) AS thread_last_pos,
       EXISTS (
           SELECT FROM thread_watches w WHERE w.thread_key = r.thread_key AND w.until > clock_timestamp()
       ) AS watched,
       coalesce(d.lineage, r.id) AS lineage,
       extract(epoch FROM r.claimed_at - greatest(d.resumed_at, r.started_at))::float8 AS seconds,
       r.tenant, d.user_id, d.key_id
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key
LEFT JOIN thread_details td ON td.thread_key = r.thread_key
WHERE r.id = %(id)s AND r.epoch = %(epoch)s AND r.status = 'running';

-- name: crashed
-- The process of one suspect run died while its worker lives: `reap` for this run alone.
UPDATE runs
SET status = 'queued', epoch = epoch + 1, crashes = crashes + 1, worker_id = NULL,
    available_at = clock_timestamp() + make_interval(secs => crashes * 2)
WHERE id = %(id)s AND epoch = %(epoch)s AND status = 'running'
RETURNING crashes;

-- name: next_due
-- Seconds until the next queued run is due; NULL when the queue is empty.
SELECT extract(epoch FROM min(available_at) - clock_timestamp())::float8
FROM runs
WHERE status = 'queued' AND agent = ANY(%(agents)s) AND crashes < %(max_crashes)s AND cancel_requested_at IS NULL;

-- name: progress
WITH fence AS MATERIALIZED (
    SELECT id FROM runs
    WHERE id = %(id)s AND epoch = %(epoch)s AND status = 'running'
    FOR NO KEY UPDATE
)
UPDATE run_details d
SET completed = %(completed)s, total = %(total)s, progress_at = clock_timestamp()
FROM fence
WHERE d.run_id = fence.id
RETURNING d.run_id;

-- name: force_cancelled
-- An owner that does not stop in time loses the run: the epoch rises, so nothing of it counts any more. An owner that
-- died or drained first has no grace: its run is queued, and nobody claims what was cancelled.
SELECT id, thread_key, epoch, tenant FROM runs
WHERE cancel_requested_at IS NOT NULL
  AND (status = 'queued'
       OR status = 'running' AND cancel_requested_at < clock_timestamp() - make_interval(secs => %(grace)s))
LIMIT 100;

-- name: overdue
SELECT id, thread_key, epoch, tenant FROM runs
WHERE status = 'running' AND timeout_seconds IS NOT NULL
  AND claimed_at + make_interval(secs => timeout_seconds + %(grace)s) < clock_timestamp()
LIMIT 100;

-- name: buried
-- Runs that killed too many workers: to be failed by recovery.
SELECT id, thread_key, epoch, tenant FROM runs WHERE status = 'queued' AND crashes >= %(max_crashes)s LIMIT 100;

-- name: answer
-- The first answer wins. `waiting_at` stays: it tells the worker which checkpoint the answer is for.
WITH answered AS (
    UPDATE runs SET status = 'queued', available_at = clock_timestamp()
    WHERE id = %(id)s AND status = 'waiting'
    RETURNING id
)
UPDATE run_details d SET answer = %(answer)s, resumed_at = clock_timestamp()
FROM answered WHERE d.run_id = answered.id
RETURNING d.run_id;

-- name: replay
-- A person gives a failed run another set of attempts; its id and its progress stay. Effects that were certainly not
-- applied may be called again, since the failure may have come from them, and who could not tell what became of one is
-- asked again.
WITH replayed AS (
    UPDATE runs r
    SET status = CASE WHEN EXISTS (
            SELECT FROM runs f
            WHERE f.thread_key = r.thread_key AND f.status IN ('queued', 'running', 'waiting')
        ) THEN 'blocked' ELSE 'queued' END,
        errors = 0, crashes = 0, available_at = clock_timestamp(), ended_at = NULL, cancel_requested_at = NULL,
        cancel_action = NULL
    WHERE r.id = %(id)s AND r.status = 'failed'
    RETURNING r.id, r.status
), effects_again AS (
    UPDATE effects e SET errors = -1
    FROM replayed JOIN run_details l ON l.run_id = replayed.id
    WHERE e.lineage = coalesce(l.lineage, l.run_id) AND e.state IN ('failed', 'unknown')
)
UPDATE run_details d SET resumed_at = clock_timestamp()
FROM replayed WHERE d.run_id = replayed.id
RETURNING replayed.status;

-- name: get
SELECT r.id, t.thread_id, r.agent, r.status, r.priority, r.epoch, r.errors, r.crashes, r.max_attempts,
       r.created_at, r.available_at, r.started_at, r.ended_at, r.cancel_requested_at, d.metadata, d.output,
       d.interrupts, d.error_code, d.error_message, d.completed, d.total, d.progress_at, r.worker_id, w.pid,
       r.claimed_at, d.options, d.assistant_id, d.multitask, r.cancel_action, d.cancel_reason, d.temporary, d.webhook,
       d.last_pos, d.input, d.config
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key
LEFT JOIN workers w ON w.id = r.worker_id
WHERE r.id = %(id)s;

-- part: for_people
-- As `get`, without what the run was started with.
SELECT r.id, t.thread_id, r.agent, r.status, r.priority, r.epoch, r.errors, r.crashes, r.max_attempts,
       r.created_at, r.available_at, r.started_at, r.ended_at, r.cancel_requested_at, d.metadata, d.output,
       d.interrupts, d.error_code, d.error_message, d.completed, d.total, d.progress_at, r.worker_id, w.pid,
       r.claimed_at, d.options, d.assistant_id, d.multitask, r.cancel_action, d.cancel_reason, d.temporary, d.webhook,
       d.last_pos, NULL, NULL

-- name: find
-- Newest first; a NULL argument does not filter.
--include for_people
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key
LEFT JOIN workers w ON w.id = r.worker_id
WHERE (%(thread_key)s::uuid IS NULL OR r.thread_key = %(thread_key)s)
  AND (%(status)s::text IS NULL OR r.status = %(status)s)
  AND (%(agent)s::text IS NULL OR r.agent = %(agent)s)
ORDER BY r.created_at DESC, r.id DESC
LIMIT %(limit)s;

-- name: of_thread
-- The run that a thread stands on: the one at its front, else the newest. Two look-ups on two indexes; one ORDER BY over
-- both conditions would sort every run of a long conversation. A deleted thread stands on nothing.
--include for_people
FROM threads t
JOIN runs r ON r.id = coalesce(
    (SELECT id FROM runs WHERE thread_key = %(thread_key)s AND status IN ('queued', 'running', 'waiting')),
    (SELECT id FROM runs WHERE thread_key = %(thread_key)s ORDER BY created_at DESC LIMIT 1)
)
JOIN run_details d ON d.run_id = r.id
LEFT JOIN workers w ON w.id = r.worker_id
WHERE t.key = %(thread_key)s AND t.deleted_at IS NULL;

-- name: thread_exists
SELECT FROM threads WHERE key = %(thread_key)s AND deleted_at IS NULL;

-- name: moving_among
-- Which of these runs have neither ended nor wait for a person; one that is gone is not among them.
SELECT id FROM runs
WHERE id = ANY(%(ids)s) AND status IN ('blocked', 'queued', 'running');

-- name: depth
SELECT status, count(*) FROM runs WHERE status IN ('blocked', 'queued', 'running', 'waiting') GROUP BY status;
