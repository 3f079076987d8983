-- Taking a run in. The thread's row is locked first, then runs are looked at and changed: whoever adds a run to a thread
-- and whoever takes one from its front meet at that row; otherwise a run could be blocked behind nothing. A NULL `access`
-- is no filter.

-- name: open_thread
-- Creates the thread or wakes it from its tombstone; either way the row is locked until commit.
INSERT INTO threads AS t (key, thread_id) VALUES (%(thread_key)s, %(thread_id)s)
ON CONFLICT (key) DO UPDATE SET deleted_at = NULL, thread_id = EXCLUDED.thread_id
RETURNING t.quarantine_reason;

-- name: existing_thread
SELECT t.quarantine_reason
FROM threads t
LEFT JOIN thread_details d ON d.thread_key = t.key
WHERE t.key = %(thread_key)s AND t.deleted_at IS NULL
  AND (%(access)s::jsonpath IS NULL OR coalesce(d.metadata, '{}') @@ %(access)s::jsonpath)
FOR UPDATE OF t;

-- name: is_there
-- Locked, so that a thread that is being created or deleted this moment is seen as it will be.
SELECT FROM threads WHERE key = %(thread_key)s AND deleted_at IS NULL FOR UPDATE;

-- name: supersede
-- An open question of a plain run makes way. Such a run tells nobody of its end: webhooks are the API's. One that waits for
-- a yes has not begun: it keeps its place.
UPDATE runs SET status = 'interrupted', ended_at = clock_timestamp()
WHERE thread_key = %(thread_key)s AND status = 'waiting'
  AND NOT EXISTS (SELECT FROM run_details d WHERE d.run_id = runs.id AND NOT d.approval ? 'approved')
RETURNING id;

-- name: step_back
-- A run that is due later and was never claimed does not keep the front from one that is due.
UPDATE runs SET status = 'blocked'
WHERE thread_key = %(thread_key)s AND status = 'queued' AND epoch = 0 AND available_at > clock_timestamp()
  AND %(delay)s::float8 <= 0;

-- name: enqueue
WITH run AS (
    INSERT INTO runs (id, thread_key, agent, status, priority, available_at, max_attempts, timeout_seconds)
    SELECT %(id)s, %(thread_key)s, %(agent)s,
           CASE WHEN EXISTS (
               SELECT FROM runs
               WHERE thread_key = %(thread_key)s AND status IN ('queued', 'running', 'waiting')
           ) THEN 'blocked' WHEN %(approval)s::jsonb IS NOT NULL THEN 'waiting' ELSE 'queued' END,
           %(priority)s, clock_timestamp() + make_interval(secs => %(delay)s),
           %(max_attempts)s, %(timeout_seconds)s
    FROM threads
    WHERE key = %(thread_key)s AND quarantine_reason IS NULL AND deleted_at IS NULL
      AND (%(access)s::jsonpath IS NULL OR coalesce(
          (SELECT metadata FROM thread_details WHERE thread_key = %(thread_key)s), '{}') @@ %(access)s::jsonpath)
    RETURNING id, status
), details AS (
    INSERT INTO run_details (run_id, input, config, metadata, assistant_id, options, multitask, temporary, webhook,
                             resumable, answer, interrupts, waiting_at, approval, user_id, key_id)
    SELECT id, %(input)s, %(config)s, %(metadata)s, %(assistant_id)s, %(options)s, %(multitask)s, %(temporary)s,
           %(webhook)s, %(resumable)s, %(answer)s, %(interrupts)s, %(waiting_at)s, %(approval)s::jsonb,
           %(user_id)s, %(key_id)s
    FROM run
)
SELECT status FROM run;

-- name: inherit
-- A run that goes on from where its thread stands executes the tasks that are open there once more, and has to find what
-- they did: it belongs to the line of the run that wrote this checkpoint. One that names an older checkpoint is meant to do
-- everything anew. Who writes checkpoints on its own may have any text for a run.
UPDATE run_details d SET lineage = coalesce(w.lineage, w.run_id)
FROM checkpoint_heads h
JOIN checkpoints c ON c.thread_key = h.thread_key AND c.ns = h.ns AND c.checkpoint_id = h.checkpoint_id
JOIN run_details w ON w.run_id = CASE
    WHEN c.run_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN c.run_id::uuid
END
WHERE d.run_id = %(id)s AND h.thread_key = %(thread_key)s AND h.ns = ''
  AND (%(named)s::text IS NULL OR h.checkpoint_id::text = %(named)s);

-- name: describe_thread
-- What a thread has of its metadata wins. From the second run on nothing is written.
INSERT INTO thread_details AS d (thread_key, metadata, temporary, ttl_minutes, ttl_strategy, expires_at)
SELECT %(thread_key)s, %(metadata)s::jsonb, %(temporary)s, %(ttl_minutes)s::float8, %(ttl_strategy)s,
       clock_timestamp() + make_interval(secs => 60 * %(ttl_minutes)s::float8)
WHERE EXISTS (SELECT FROM runs WHERE id = %(id)s)
ON CONFLICT (thread_key) DO UPDATE SET metadata = EXCLUDED.metadata || d.metadata, updated_at = clock_timestamp()
WHERE NOT d.metadata @> EXCLUDED.metadata AND NOT d.metadata ?& ARRAY['graph_id', 'assistant_id'];

-- name: own_thread
-- A thread that was made for this caller; of two that make it at once, the first has it.
INSERT INTO thread_details (thread_key, metadata, temporary, ttl_minutes, ttl_strategy, expires_at)
VALUES (%(thread_key)s, %(metadata)s::jsonb, %(temporary)s, %(ttl_minutes)s::float8, %(ttl_strategy)s,
        clock_timestamp() + make_interval(secs => 60 * %(ttl_minutes)s::float8))
ON CONFLICT (thread_key) DO NOTHING;

-- name: standing
-- The unfinished runs of a thread, oldest first. Two look-ups in two small indexes; one condition over both would read
-- every run of a long conversation. One that waits for a yes before it begins has still to run, as a blocked one has.
SELECT id, CASE WHEN status = 'waiting' AND NOT d.approval ? 'approved' THEN 'blocked' ELSE status END, epoch, later,
       CASE WHEN d.answer IS NOT NULL THEN d.interrupts END AS answers
FROM (
    SELECT id, status, epoch, available_at > clock_timestamp() AND epoch = 0 AS later, created_at
    FROM runs WHERE thread_key = %(thread_key)s AND status IN ('queued', 'running', 'waiting')
    UNION ALL
    SELECT id, status, epoch, available_at > clock_timestamp() AND epoch = 0, created_at
    FROM runs WHERE thread_key = %(thread_key)s AND status = 'blocked'
) AS r
JOIN run_details d ON d.run_id = r.id
ORDER BY r.created_at, r.id;

-- name: asked
-- Where the thread stands, and the questions that were asked last, with the place where they were. A plain run that waits
-- may have asked before there were details of threads.
SELECT coalesce(d.state, 'idle'), coalesce(d.interrupts, '{}'), d.waiting_at, h.checkpoint_id, w.interrupts, w.waiting_at
FROM threads t
LEFT JOIN thread_details d ON d.thread_key = t.key
LEFT JOIN checkpoint_heads h ON h.thread_key = t.key AND h.ns = ''
LEFT JOIN runs r ON r.thread_key = t.key AND r.status = 'waiting'
LEFT JOIN run_details w ON w.run_id = r.id
WHERE t.key = %(thread_key)s;

-- name: remember_key
-- The first request with a key wins; a second one finds its run.
INSERT INTO idempotency_keys (tenant, route, key, body_hash, run_id)
VALUES (current_tenant(), %(route)s, %(key)s, %(body_hash)s, %(run_id)s)
ON CONFLICT (tenant, route, key) DO NOTHING
RETURNING run_id;

-- name: find_key
SELECT run_id, body_hash FROM idempotency_keys
WHERE tenant = current_tenant() AND route = %(route)s AND key = %(key)s;
