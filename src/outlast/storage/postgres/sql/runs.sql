-- Statements of the queue: what is claimed, looked at and repaired. How a run is taken in and how it ends is told by
-- run_intake.sql and run_ends.sql. Lock order everywhere: the thread's row first, then runs.

-- part: walk
-- The tenants that have something queued, from behind the one that was served last and around; one look into the index each.
WITH RECURSIVE walk (tenant, around, turn) AS (
    SELECT %(after)s::text, false, 0
    UNION ALL
    SELECT n.tenant, n.around, w.turn + 1
    FROM walk w CROSS JOIN LATERAL (
        (SELECT r.tenant, w.around FROM runs r
         WHERE r.status = 'queued' AND r.tenant > w.tenant AND (NOT w.around OR r.tenant <= %(after)s::text)
         ORDER BY r.tenant LIMIT 1)
        UNION ALL
        (SELECT r.tenant, true FROM runs r
         WHERE r.status = 'queued' AND NOT w.around AND r.tenant <= %(after)s::text
         ORDER BY r.tenant LIMIT 1)
        LIMIT 1
    ) n
    WHERE w.turn < 64 AND EXISTS (SELECT FROM workers WHERE id = %(worker_id)s AND state = 'live')

-- part: taking
-- First each tenant's share of the places, then, if some are left, whatever there is. Rows are taken one by one until all
-- places are, so nothing is locked that is not claimed.
), passes AS MATERIALIZED (
    SELECT r.tenant, r.turn, CASE pass WHEN 1 THEN 0 ELSE r.share END AS skip,
           CASE pass WHEN 1 THEN r.share ELSE r.room - r.share END AS take
    FROM (
        SELECT *, least(room, ceil(%(limit)s::int / (count(*) OVER ())::float8)::int) AS share FROM rooms
    ) r CROSS JOIN (VALUES (1), (2)) AS p (pass)
    ORDER BY pass, r.turn
), due AS MATERIALIZED (
    SELECT p.id, t.turn FROM passes t CROSS JOIN LATERAL (
        SELECT runs.id FROM runs
        WHERE runs.tenant = t.tenant
          AND runs.status = 'queued'
          AND runs.available_at <= now()
          AND runs.crashes < %(max_crashes)s
          AND runs.cancel_requested_at IS NULL
          AND runs.agent = ANY(%(agents)s)
          AND (NOT EXISTS (SELECT FROM switches) OR NOT is_switched_off(runs.tenant, runs.agent, runs.id))
        ORDER BY runs.priority DESC, runs.available_at, runs.id
        OFFSET t.skip LIMIT t.take
        FOR UPDATE SKIP LOCKED
    ) p
    LIMIT %(limit)s
), claimed AS (
    UPDATE runs r
    SET status = 'running', epoch = r.epoch + 1, worker_id = %(worker_id)s,
        claimed_at = clock_timestamp(), started_at = coalesce(r.started_at, clock_timestamp())
    FROM due
    WHERE r.id = due.id
    RETURNING r.*
), told AS (
    -- For the story of its thread; the row itself forgets it.
    INSERT INTO run_history (run_id, epoch, event, worker_id, at, tenant)
    SELECT id, epoch, 'claimed', worker_id, claimed_at, tenant FROM claimed
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
       c.tenant, d.user_id, d.key_id,
       -- For what is told of the attempt: since when it was ready, and since when it is there at all.
       extract(epoch FROM c.claimed_at - c.available_at)::float8, extract(epoch FROM c.claimed_at - c.created_at)::float8,
       c.tenant, (SELECT max(turn) FROM due WHERE due.id = c.id) AS turn
FROM claimed c
JOIN run_details d ON d.run_id = c.id
JOIN threads t ON t.key = c.thread_key
LEFT JOIN thread_details td ON td.thread_key = c.thread_key
ORDER BY c.priority DESC, c.available_at, c.id

-- name: claim
-- In turns: tenants that have something queued, at most 64 in one claim; within a tenant by priority and age. SKIP LOCKED
-- lets workers pass each other; without it the fleet claims one run at a time. MATERIALIZED, because the planner may
-- otherwise join in an order that updates more rows than LIMIT. now() is this transaction's time. A worker that was
-- declared dead claims nothing.
--include walk
), rooms AS (
    SELECT tenant, turn, %(limit)s::int AS room FROM walk WHERE turn > 0
--include taking
;

-- name: claim_capped
-- As `claim`, and no tenant gets more places than it has left; `claim_alone` has made sure that nobody else counts now.
-- Apart, since a statement that does all of it takes the planner longer than the claim.
--include walk
), busy AS MATERIALIZED (
    SELECT tenant, count(*)::int AS runs FROM runs WHERE worker_id IS NOT NULL GROUP BY tenant
), rooms AS (
    SELECT w.tenant, w.turn,
           -- least() passes over NULL: a tenant without a cap.
           greatest(0, least(%(limit)s::int, coalesce(o.most, %(cap)s::int) - coalesce(b.runs, 0))) AS room
    FROM walk w
    LEFT JOIN busy b ON b.tenant = w.tenant
    LEFT JOIN unnest(%(capped_tenants)s::text[], %(caps)s::int[]) AS o (tenant, most) ON o.tenant = w.tenant
    WHERE w.turn > 0
--include taking
;

-- name: walk_end
-- Where a walk ended because it was long enough; the next one goes on from there if this one found nothing.
--include walk
)
SELECT tenant FROM walk WHERE turn = 64;

-- name: claim_alone
-- Claims that count what runs already come one after the other, or two would find the same place free.
SELECT pg_advisory_xact_lock(%(class_id)s, hashtext(current_schema()));

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
       r.tenant, d.user_id, d.key_id,
       extract(epoch FROM r.claimed_at - r.available_at)::float8, extract(epoch FROM r.claimed_at - r.created_at)::float8
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key
LEFT JOIN thread_details td ON td.thread_key = r.thread_key
WHERE r.id = %(id)s AND r.epoch = %(epoch)s AND r.status = 'running';

-- name: crashed
-- The process of one suspect run died while its worker lives: `reap` for this run alone.
WITH crashed AS (
    UPDATE runs
    SET status = 'queued', epoch = epoch + 1, crashes = crashes + 1, worker_id = NULL,
        available_at = clock_timestamp() + make_interval(secs => crashes * 2)
    WHERE id = %(id)s AND epoch = %(epoch)s AND status = 'running'
    RETURNING id, crashes
), attempt AS (
    -- `r` is the row as it was before.
    INSERT INTO run_attempts (run_id, epoch, kind, error_code, worker_id, began_at, tenant)
    SELECT r.id, r.epoch, 'crash', 'crashed', r.worker_id, r.claimed_at, r.tenant
    FROM crashed c JOIN runs r ON r.id = c.id
    ON CONFLICT DO NOTHING
)
SELECT crashes FROM crashed;

-- name: next_due
-- Seconds until the next queued run is due; NULL when the queue is empty. What a switch holds back is not due: workers
-- would look for it again and again.
SELECT extract(epoch FROM min(available_at) - clock_timestamp())::float8
FROM runs
WHERE status = 'queued' AND agent = ANY(%(agents)s) AND crashes < %(max_crashes)s AND cancel_requested_at IS NULL
  AND (NOT EXISTS (SELECT FROM switches) OR NOT is_switched_off(runs.tenant, runs.agent, runs.id));

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

-- name: asks_approval
-- Whether it waits for a person's yes before it begins, and not for an answer to its graph.
SELECT d.approval FROM runs r JOIN run_details d ON d.run_id = r.id
WHERE r.id = %(id)s AND r.status = 'waiting' AND NOT d.approval ? 'approved';

-- name: approve
-- The run begins, from the start; it is due when it was to be due.
WITH approved AS (
    UPDATE runs SET status = 'queued', available_at = greatest(available_at, clock_timestamp())
    WHERE id = %(id)s AND status = 'waiting'
      AND EXISTS (SELECT FROM run_details d WHERE d.run_id = runs.id AND NOT d.approval ? 'approved')
    RETURNING id
)
UPDATE run_details d SET approval = d.approval || jsonb_build_object('approved', true, 'by', %(by)s::text)
FROM approved WHERE d.run_id = approved.id
RETURNING d.run_id;

-- name: disapprove
-- What becomes of the run is told by its cancellation, in the same transaction.
UPDATE run_details d SET approval = d.approval || jsonb_build_object('approved', false, 'by', %(by)s::text)
WHERE d.run_id = %(id)s;

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
-- asked again. One that was discarded is wanted again. Recovery says up to which count of its own replays it may be done.
WITH replayed AS (
    UPDATE runs r
    SET status = CASE WHEN EXISTS (
            SELECT FROM runs f
            WHERE f.thread_key = r.thread_key AND f.status IN ('queued', 'running', 'waiting')
        ) THEN 'blocked' ELSE 'queued' END,
        errors = 0, crashes = 0, available_at = clock_timestamp() + make_interval(secs => %(delay)s), ended_at = NULL,
        cancel_requested_at = NULL, cancel_action = NULL, discarded_at = NULL
    WHERE r.id = %(id)s AND r.status = 'failed'
      AND (%(most)s::int IS NULL OR r.discarded_at IS NULL AND EXISTS (
          SELECT FROM run_details d WHERE d.run_id = r.id AND d.replays < %(most)s::int
      ))
    RETURNING r.id, r.status, r.epoch, r.tenant
), told AS (
    INSERT INTO run_history (run_id, epoch, event, tenant)
    SELECT id, epoch, CASE WHEN %(most)s::int IS NULL THEN 'replayed' ELSE 'revived' END, tenant FROM replayed
    ON CONFLICT DO NOTHING
), effects_again AS (
    UPDATE effects e SET errors = -1
    FROM replayed JOIN run_details l ON l.run_id = replayed.id
    WHERE e.lineage = coalesce(l.lineage, l.run_id) AND e.state IN ('failed', 'unknown')
)
UPDATE run_details d
SET resumed_at = clock_timestamp(), discarded_by = NULL, discard_reason = NULL,
    replays = CASE WHEN %(most)s::int IS NULL THEN 0 ELSE d.replays + 1 END
FROM replayed WHERE d.run_id = replayed.id
RETURNING replayed.status;

-- name: get
SELECT r.id, t.thread_id, r.agent, r.status, r.priority, r.epoch, r.errors, r.crashes, r.max_attempts,
       r.created_at, r.available_at, r.started_at, r.ended_at, r.cancel_requested_at, d.metadata, d.output,
       d.interrupts, d.error_code, d.error_message, d.completed, d.total, d.progress_at, r.worker_id, w.pid,
       r.claimed_at, d.options, d.assistant_id, d.multitask, r.cancel_action, d.cancel_reason, d.temporary, d.webhook,
       d.last_pos, d.input, d.config, d.approval
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
       d.last_pos, NULL, NULL, d.approval

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
