-- Threads as the Agent Server API shows them. A NULL `access` is no filter.
-- A thread whose runs never ended, or that a checkpointer alone has written, has no row in thread_details: so joins are
-- LEFT.

-- name: open_new
-- Wakes a deleted thread, as a new one. No row when the thread is there; either way it is locked until commit.
INSERT INTO threads AS t (key, thread_id) VALUES (%(thread_key)s, %(thread_id)s)
ON CONFLICT (key) DO UPDATE SET deleted_at = NULL, thread_id = EXCLUDED.thread_id, created_at = clock_timestamp()
WHERE t.deleted_at IS NOT NULL
RETURNING t.key;

-- name: describe
INSERT INTO thread_details (thread_key, metadata, ttl_minutes, ttl_strategy, expires_at)
VALUES (%(thread_key)s, %(metadata)s::jsonb, %(ttl_minutes)s::float8, %(ttl_strategy)s,
        clock_timestamp() + make_interval(secs => 60 * %(ttl_minutes)s::float8))
ON CONFLICT (thread_key) DO NOTHING;

-- part: status
CROSS JOIN LATERAL (
    -- Each question is one look at a small partial index.
    SELECT CASE
        WHEN EXISTS (SELECT FROM runs r WHERE r.thread_key = t.key AND r.status IN ('queued', 'running'))
          OR EXISTS (SELECT FROM runs r WHERE r.thread_key = t.key AND r.status = 'blocked') THEN 'busy'
        WHEN EXISTS (SELECT FROM runs r WHERE r.thread_key = t.key AND r.status = 'waiting') THEN 'interrupted'
        ELSE coalesce(d.state, 'idle') END AS status
) s

-- name: get
SELECT t.key, t.thread_id, t.created_at, coalesce(d.updated_at, t.created_at),
       coalesce(d.state_updated_at, t.created_at), coalesce(d.metadata, '{}'), coalesce(d.config, '{}'),
       d.values,
       -- A question is open for as long as the thread stands where it was asked.
       CASE WHEN d.waiting_at = h.checkpoint_id THEN d.interrupts ELSE '{}' END,
       d.waiting_at, d.stands_at, d.error, coalesce(d.temporary, false), d.ttl_minutes, d.ttl_strategy, d.expires_at,
       h.checkpoint_id, s.status
FROM threads t
LEFT JOIN thread_details d ON d.thread_key = t.key
LEFT JOIN checkpoint_heads h ON h.thread_key = t.key AND h.ns = ''
--include status
WHERE t.key = %(thread_key)s AND t.deleted_at IS NULL
  AND (%(access)s::jsonpath IS NULL OR coalesce(d.metadata, '{}') @@ %(access)s::jsonpath);

-- name: last_agent
-- Which graph a thread without that metadata is of: the one that ran last.
SELECT agent FROM runs WHERE thread_key = %(thread_key)s ORDER BY created_at DESC LIMIT 1;

-- name: is_there
SELECT FROM threads WHERE key = %(thread_key)s AND deleted_at IS NULL;

-- name: lock
-- The row of a thread that is there for this caller.
SELECT t.thread_id
FROM threads t
LEFT JOIN thread_details d ON d.thread_key = t.key
WHERE t.key = %(thread_key)s AND t.deleted_at IS NULL
  AND (%(access)s::jsonpath IS NULL OR coalesce(d.metadata, '{}') @@ %(access)s::jsonpath)
FOR UPDATE OF t;

-- name: busy_run
-- A run of the thread that has still to run, if there is one: the front first.
SELECT id, status FROM (
    SELECT 1 AS place, id, status FROM runs WHERE thread_key = %(thread_key)s AND status IN ('queued', 'running')
    UNION ALL
    SELECT 2, id, status FROM runs WHERE thread_key = %(thread_key)s AND status = 'blocked'
) AS unfinished ORDER BY place LIMIT 1;

-- name: update
INSERT INTO thread_details AS d (thread_key, metadata, ttl_minutes, ttl_strategy, expires_at)
VALUES (%(thread_key)s, %(metadata)s::jsonb, %(ttl_minutes)s::float8, %(ttl_strategy)s,
        clock_timestamp() + make_interval(secs => 60 * %(ttl_minutes)s::float8))
ON CONFLICT (thread_key) DO UPDATE SET
    metadata = d.metadata || EXCLUDED.metadata,
    ttl_minutes = coalesce(EXCLUDED.ttl_minutes, d.ttl_minutes),
    ttl_strategy = coalesce(EXCLUDED.ttl_strategy, d.ttl_strategy),
    -- What was touched lives on.
    expires_at = coalesce(
        EXCLUDED.expires_at, clock_timestamp() + make_interval(secs => 60 * d.ttl_minutes), d.expires_at),
    updated_at = clock_timestamp();

-- name: mark
-- What a change of state from outside of a run leaves behind; runs have a statement of their own for it (run_ends.sql).
INSERT INTO thread_details AS d
    (thread_key, state, values, interrupts, waiting_at, stands_at, error, last_pos)
VALUES (%(thread_key)s, %(state)s, %(values)s::jsonb, coalesce(%(interrupts)s::jsonb, '{}'), %(waiting_at)s,
        %(stands_at)s, %(error)s::jsonb, coalesce(%(last_pos)s::bigint, 0))
ON CONFLICT (thread_key) DO UPDATE SET
    state = EXCLUDED.state,
    values = EXCLUDED.values,
    interrupts = CASE WHEN %(interrupts)s::jsonb IS NULL THEN d.interrupts ELSE EXCLUDED.interrupts END,
    waiting_at = CASE WHEN %(interrupts)s::jsonb IS NULL THEN d.waiting_at ELSE EXCLUDED.waiting_at END,
    stands_at = EXCLUDED.stands_at,
    error = EXCLUDED.error,
    last_pos = greatest(d.last_pos, EXCLUDED.last_pos),
    expires_at = coalesce(clock_timestamp() + make_interval(secs => 60 * d.ttl_minutes), d.expires_at),
    updated_at = clock_timestamp(),
    state_updated_at = clock_timestamp();

-- name: refresh
-- What a reader found in the checkpoint, for the next one: only while the thread stands there and nothing runs. How
-- the last run left the thread is not the checkpoint's to say, unless nobody knows (`idle` after a rollback).
INSERT INTO thread_details AS d (thread_key, state, values, interrupts, waiting_at, stands_at)
SELECT t.key, %(state)s, %(values)s::jsonb, coalesce(%(interrupts)s::jsonb, '{}'), %(waiting_at)s, %(stands_at)s
FROM threads t
JOIN checkpoint_heads h ON h.thread_key = t.key AND h.ns = '' AND h.checkpoint_id = %(stands_at)s
WHERE t.key = %(thread_key)s AND t.deleted_at IS NULL
  AND NOT EXISTS (SELECT FROM runs r WHERE r.thread_key = t.key AND r.status IN ('queued', 'running'))
ON CONFLICT (thread_key) DO UPDATE SET
    state = CASE WHEN d.state = 'idle' THEN EXCLUDED.state ELSE d.state END,
    values = EXCLUDED.values,
    interrupts = EXCLUDED.interrupts,
    waiting_at = EXCLUDED.waiting_at,
    stands_at = EXCLUDED.stands_at;

-- name: stand
-- The checkpoint at which a thread stands.
SELECT checkpoint_id FROM checkpoint_heads WHERE thread_key = %(thread_key)s AND ns = '';

-- name: copy_details
INSERT INTO thread_details
    (thread_key, metadata, config, state, values, stands_at, interrupts, waiting_at, error, ttl_minutes, ttl_strategy,
     expires_at)
SELECT %(target_key)s, metadata || %(metadata)s::jsonb, config, state, values, stands_at, interrupts, waiting_at, error,
       ttl_minutes, ttl_strategy, clock_timestamp() + make_interval(secs => 60 * ttl_minutes)
FROM thread_details WHERE thread_key = %(source_key)s;

-- name: forget_details
DELETE FROM thread_details WHERE thread_key = %(thread_key)s;

-- name: delete_runs
-- An owner that still works is refused everything from here on: there is no epoch left to match.
-- What their calls were answered goes with them.
WITH gone AS (
    DELETE FROM runs WHERE thread_key = %(thread_key)s RETURNING id, status
), forgotten AS (
    DELETE FROM call_journal j
    USING gone g LEFT JOIN run_details d ON d.run_id = g.id
    WHERE j.lineage = coalesce(d.lineage, g.id)
), effects_gone AS (
    DELETE FROM effects WHERE thread_key = %(thread_key)s AND business_key IS NULL
), effects_kept AS (
    -- Applied once in all runs is still that; what it was about is forgotten.
    UPDATE effects SET arguments = '{}', answer = NULL, error = NULL
    WHERE thread_key = %(thread_key)s AND business_key IS NOT NULL
), questions_gone AS (
    DELETE FROM effect_questions WHERE thread_key = %(thread_key)s
)
SELECT id, status FROM gone;

-- name: delete_crons
DELETE FROM crons WHERE thread_key = %(thread_key)s;

-- name: delete_events
DELETE FROM run_events WHERE thread_key = %(thread_key)s;

-- name: of_assistant
SELECT t.thread_id
FROM threads t
JOIN thread_details d ON d.thread_key = t.key
WHERE t.deleted_at IS NULL AND d.metadata @> %(metadata)s::jsonb
  AND (%(access)s::jsonpath IS NULL OR d.metadata @@ %(access)s::jsonpath)
ORDER BY t.key;

-- part: wanted
-- Threads that go with their only run are nobody's to find.
WHERE t.deleted_at IS NULL AND d.temporary IS NOT TRUE
--if metadata
  AND d.metadata @> %(metadata)s::jsonb
--end
--if values
  AND d.values @> %(values)s::jsonb
--end
--if ids
  AND t.key = ANY(%(keys)s::uuid[])
--end
--if busy
  -- From the few runs that have still to run, and not from all threads.
  AND t.key IN (
      SELECT thread_key FROM runs WHERE status IN ('queued', 'running')
      UNION ALL
      SELECT thread_key FROM runs WHERE status = 'blocked'
  )
--end
--if status
  AND s.status = %(status)s
--end
--if access
  AND coalesce(d.metadata, '{}') @@ %(access)s::jsonpath
--end

-- name: search
SELECT t.key, t.thread_id, t.created_at, coalesce(d.updated_at, t.created_at),
       coalesce(d.state_updated_at, t.created_at), coalesce(d.metadata, '{}'), coalesce(d.config, '{}'),
--if with_values
       d.values,
--end
--if not with_values
       NULL::jsonb,
--end
       -- A question is open for as long as the thread stands where it was asked.
       CASE WHEN d.waiting_at = h.checkpoint_id THEN d.interrupts ELSE '{}' END,
       d.waiting_at, d.stands_at, d.error, coalesce(d.temporary, false), d.ttl_minutes, d.ttl_strategy, d.expires_at,
       h.checkpoint_id, s.status
FROM threads t
LEFT JOIN thread_details d ON d.thread_key = t.key
LEFT JOIN checkpoint_heads h ON h.thread_key = t.key AND h.ns = ''
--include status
--include wanted
ORDER BY
--if thread_id_asc
    t.thread_id,
--end
--if thread_id_desc
    t.thread_id DESC,
--end
--if status_asc
    s.status,
--end
--if status_desc
    s.status DESC,
--end
--if created_at_asc
    t.created_at,
--end
--if created_at_desc
    t.created_at DESC,
--end
--if updated_at_asc
    coalesce(d.updated_at, t.created_at),
--end
--if updated_at_desc
    coalesce(d.updated_at, t.created_at) DESC,
--end
--if state_updated_at_asc
    coalesce(d.state_updated_at, t.created_at),
--end
--if state_updated_at_desc
    coalesce(d.state_updated_at, t.created_at) DESC,
--end
    t.key
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count
SELECT count(*)
FROM threads t
LEFT JOIN thread_details d ON d.thread_key = t.key
LEFT JOIN checkpoint_heads h ON h.thread_key = t.key AND h.ns = ''
--include status
--include wanted
;
