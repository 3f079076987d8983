-- Statements of the queue. Lock order everywhere: the thread's row first, then runs. Whoever adds a run to a
-- thread and whoever takes one from its front meet at that row; otherwise a run could be blocked behind nothing.

-- name: lock_thread
SELECT key FROM threads WHERE key = %(thread_key)s FOR UPDATE;

-- name: open_thread
-- Creates the thread or wakes it from its tombstone; either way the row is locked until commit.
INSERT INTO threads AS t (key, thread_id) VALUES (%(thread_key)s, %(thread_id)s)
ON CONFLICT (key) DO UPDATE SET deleted_at = NULL
RETURNING t.quarantine_reason;

-- name: enqueue
WITH run AS (
    INSERT INTO runs (id, thread_key, agent, status, priority, available_at, max_attempts, timeout_seconds)
    SELECT %(id)s, %(thread_key)s, %(agent)s,
           CASE WHEN EXISTS (
               SELECT FROM runs
               WHERE thread_key = %(thread_key)s AND status IN ('queued', 'running', 'waiting')
           ) THEN 'blocked' ELSE 'queued' END,
           %(priority)s, clock_timestamp() + make_interval(secs => %(delay)s),
           %(max_attempts)s, %(timeout_seconds)s
    FROM threads WHERE key = %(thread_key)s AND quarantine_reason IS NULL
    RETURNING id, status
), details AS (
    INSERT INTO run_details (run_id, input, config, metadata)
    SELECT id, %(input)s, %(config)s, %(metadata)s FROM run
)
SELECT status FROM run;

-- name: remember_key
-- The first request with a key wins; a second one finds its run.
INSERT INTO idempotency_keys (tenant, route, key, body_hash, run_id)
VALUES ('default', %(route)s, %(key)s, %(body_hash)s, %(run_id)s)
ON CONFLICT (tenant, route, key) DO NOTHING
RETURNING run_id;

-- name: find_key
SELECT run_id, body_hash FROM idempotency_keys
WHERE tenant = 'default' AND route = %(route)s AND key = %(key)s;

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
       CASE WHEN d.answer IS NOT NULL THEN d.interrupts END AS asked
FROM claimed c
JOIN run_details d ON d.run_id = c.id
JOIN threads t ON t.key = c.thread_key
ORDER BY c.priority DESC, c.available_at, c.id;

-- name: claimed
-- What `claim` answered, once more, for the process that executes one suspect run by itself.
SELECT r.id, r.epoch, t.thread_id, r.thread_key, r.agent, d.input, d.config, d.metadata, r.errors, r.crashes,
       r.max_attempts, r.timeout_seconds, d.answer, d.waiting_at,
       EXISTS (SELECT FROM checkpoint_heads h WHERE h.thread_key = r.thread_key) AS has_state,
       CASE WHEN d.answer IS NOT NULL THEN d.interrupts END AS asked
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key
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

-- name: settle
-- Accepted only from the owner. A status of its own epoch that is already there is the same settlement, whose
-- answer was lost. A run that was cancelled while it ran ends now, whatever it would wait for: nobody would ask again.
WITH settled AS (
    UPDATE runs
    SET status = CASE WHEN cancel_requested_at IS NOT NULL AND %(status)s IN ('queued', 'waiting') THEN 'cancelled'
                      ELSE %(status)s END,
        worker_id = NULL,
        errors = errors + %(errors)s,
        available_at = clock_timestamp() + make_interval(secs => %(delay)s),
        ended_at = CASE WHEN cancel_requested_at IS NOT NULL OR %(status)s IN ('succeeded', 'failed', 'cancelled')
                        THEN clock_timestamp() END
    WHERE id = %(id)s AND epoch = %(epoch)s AND status = 'running'
    RETURNING id, status
)
UPDATE run_details d
SET output = coalesce(%(output)s, d.output),
    -- Kept with the answer until the answer is dealt with.
    interrupts = CASE WHEN settled.status = 'waiting' THEN %(interrupts)s::jsonb
                      WHEN settled.status = 'queued' THEN d.interrupts END,
    waiting_at = CASE WHEN settled.status = 'waiting' THEN %(waiting_at)s
                      WHEN settled.status = 'queued' THEN d.waiting_at END,
    -- An answer was given to one question; it must not be taken for the answer to the next.
    answer = CASE WHEN settled.status = 'queued' THEN d.answer END,
    error_code = %(error_code)s,
    error_message = %(error_message)s
FROM settled
WHERE d.run_id = settled.id
RETURNING settled.status;

-- name: is_settled
SELECT status FROM runs
WHERE id = %(id)s AND epoch = %(epoch)s
  AND (status = %(status)s OR status = 'cancelled' AND %(status)s IN ('queued', 'waiting'));

-- name: unblock
-- Safe to run at any time: it does nothing while the thread has a front.
UPDATE runs
SET status = 'queued', available_at = greatest(available_at, clock_timestamp())
WHERE id = (
    SELECT id FROM runs
    WHERE thread_key = %(thread_key)s AND status = 'blocked'
    ORDER BY priority DESC, created_at, id
    LIMIT 1
) AND NOT EXISTS (
    SELECT FROM runs WHERE thread_key = %(thread_key)s AND status IN ('queued', 'running', 'waiting')
)
RETURNING id;

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

-- name: request_cancel
-- What does not run is cancelled here and now; what runs is asked to stop, and its owner records the end.
UPDATE runs
SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
    status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END,
    ended_at = CASE WHEN status = 'running' THEN NULL ELSE clock_timestamp() END
WHERE id = %(id)s AND status IN ('blocked', 'queued', 'running', 'waiting')
RETURNING status, thread_key;

-- name: force_cancelled
-- An owner that does not stop in time loses the run: the epoch rises, so nothing of it counts any more. An owner that
-- died or drained first has no grace: its run is queued, and nobody claims what was cancelled.
SELECT id, thread_key, epoch FROM runs
WHERE cancel_requested_at IS NOT NULL
  AND (status = 'queued'
       OR status = 'running' AND cancel_requested_at < clock_timestamp() - make_interval(secs => %(grace)s))
LIMIT 100;

-- name: overdue
SELECT id, thread_key, epoch FROM runs
WHERE status = 'running' AND timeout_seconds IS NOT NULL
  AND claimed_at + make_interval(secs => timeout_seconds + %(grace)s) < clock_timestamp()
LIMIT 100;

-- name: buried
-- Runs that killed too many workers: to be failed by recovery.
SELECT id, thread_key, epoch FROM runs WHERE status = 'queued' AND crashes >= %(max_crashes)s LIMIT 100;

-- name: take_away
-- End a run against its owner's will or without one.
WITH taken AS (
    UPDATE runs
    SET status = %(status)s, epoch = epoch + 1, worker_id = NULL, ended_at = clock_timestamp()
    WHERE id = %(id)s AND epoch = %(epoch)s AND status IN ('queued', 'running')
    RETURNING id
)
UPDATE run_details d SET error_code = %(error_code)s, error_message = %(error_message)s
FROM taken WHERE d.run_id = taken.id
RETURNING d.run_id;

-- name: thread_of
SELECT thread_key FROM runs WHERE id = %(id)s;

-- name: answer
-- The first answer wins. `waiting_at` stays: it tells the worker which checkpoint the answer is for.
WITH answered AS (
    UPDATE runs SET status = 'queued', available_at = clock_timestamp()
    WHERE id = %(id)s AND status = 'waiting'
    RETURNING id
)
UPDATE run_details d SET answer = %(answer)s
FROM answered WHERE d.run_id = answered.id
RETURNING d.run_id;

-- name: replay
-- A person gives a failed run another set of attempts; its id and its progress stay.
UPDATE runs r
SET status = CASE WHEN EXISTS (
        SELECT FROM runs f
        WHERE f.thread_key = r.thread_key AND f.status IN ('queued', 'running', 'waiting')
    ) THEN 'blocked' ELSE 'queued' END,
    errors = 0, crashes = 0, available_at = clock_timestamp(), ended_at = NULL, cancel_requested_at = NULL
WHERE r.id = %(id)s AND r.status = 'failed'
RETURNING r.status;

-- name: get
SELECT r.id, t.thread_id, r.agent, r.status, r.priority, r.epoch, r.errors, r.crashes, r.max_attempts,
       r.created_at, r.available_at, r.started_at, r.ended_at, r.cancel_requested_at, d.metadata, d.output,
       d.interrupts, d.error_code, d.error_message, d.completed, d.total, d.progress_at, r.worker_id, w.pid
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key
LEFT JOIN workers w ON w.id = r.worker_id
WHERE r.id = %(id)s;

-- name: find
-- Newest first; a NULL argument does not filter.
SELECT r.id, t.thread_id, r.agent, r.status, r.priority, r.epoch, r.errors, r.crashes, r.max_attempts,
       r.created_at, r.available_at, r.started_at, r.ended_at, r.cancel_requested_at, d.metadata, d.output,
       d.interrupts, d.error_code, d.error_message, d.completed, d.total, d.progress_at, r.worker_id, w.pid
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
SELECT r.id, t.thread_id, r.agent, r.status, r.priority, r.epoch, r.errors, r.crashes, r.max_attempts,
       r.created_at, r.available_at, r.started_at, r.ended_at, r.cancel_requested_at, d.metadata, d.output,
       d.interrupts, d.error_code, d.error_message, d.completed, d.total, d.progress_at, r.worker_id, w.pid
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

-- name: ended_among
-- Which of these runs stand still: ended, or waiting for a person.
SELECT id FROM runs
WHERE id = ANY(%(ids)s) AND status IN ('succeeded', 'failed', 'cancelled', 'waiting');

-- name: depth
SELECT status, count(*) FROM runs WHERE status IN ('blocked', 'queued', 'running', 'waiting') GROUP BY status;
