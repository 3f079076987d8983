-- Failed runs that nobody has replayed yet, and the errors of their attempts.

-- part: wanted
WHERE r.status = 'failed'
--if discarded
  AND r.discarded_at IS NOT NULL
--end
--if not discarded
  AND r.discarded_at IS NULL
--end
--if agent
  AND r.agent = %(agent)s
--end
--if code
  AND d.error_code = %(code)s
--end
--if without
  AND d.error_code <> ALL(%(without)s::text[])
--end
--if thread
  AND r.thread_key = %(thread_key)s::uuid
--end
--if since
  AND r.ended_at >= %(since)s::timestamptz
--end
--if until
  AND r.ended_at < %(until)s::timestamptz
--end

-- part: letter
SELECT r.id, t.thread_id, r.agent, d.error_code, d.error_message,
       (SELECT count(*) FROM run_attempts a WHERE a.run_id = r.id), r.created_at, r.ended_at, d.user_id, d.replays,
       r.discarded_at, d.discarded_by, d.discard_reason
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key

-- name: find
-- Newest first.
--include letter
--include wanted
ORDER BY r.ended_at DESC, r.id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count
SELECT count(*) FROM runs r JOIN run_details d ON d.run_id = r.id
--include wanted
;

-- name: get
--include letter
WHERE r.id = %(id)s AND r.status = 'failed';

-- name: classes
-- What went wrong how often: what a person repairs is a class, and not a run.
SELECT r.agent, d.error_code, count(*), min(r.ended_at), max(r.ended_at)
FROM runs r JOIN run_details d ON d.run_id = r.id
--include wanted
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2
LIMIT %(limit)s;

-- name: oldest
-- In the order in which they failed, to go on behind the last one.
SELECT r.id, r.ended_at FROM runs r JOIN run_details d ON d.run_id = r.id
--include wanted
--if after
  AND (r.ended_at, r.id) > (%(after)s::timestamptz, %(after_id)s::uuid)
--end
ORDER BY r.ended_at, r.id
LIMIT %(limit)s;

-- name: now
SELECT clock_timestamp();

-- name: attempts
-- In order; a worker that ended over a day ago is known no more.
SELECT a.epoch, a.kind, a.error_code, a.error_message, w.host, w.pid, a.began_at, a.ended_at
FROM run_attempts a
LEFT JOIN workers w ON w.id = a.worker_id
WHERE a.run_id = %(id)s
ORDER BY a.epoch;

-- name: discard
-- The run stays failed, and is replayed by nobody who does not name it.
WITH discarded AS (
    UPDATE runs SET discarded_at = clock_timestamp()
    WHERE id = %(id)s AND status = 'failed' AND discarded_at IS NULL
    RETURNING id
)
UPDATE run_details d SET discarded_by = %(by)s, discard_reason = %(reason)s
FROM discarded WHERE d.run_id = discarded.id
RETURNING d.run_id;

-- name: last_checkpoint
-- Where a replay goes on: the thread's head, and whether the run has saved it.
SELECT c.checkpoint_id, (c.metadata ->> 'step')::int, c.run_id = r.id::text
FROM runs r
JOIN checkpoint_heads h ON h.thread_key = r.thread_key AND h.ns = ''
JOIN checkpoints c ON c.thread_key = h.thread_key AND c.ns = h.ns AND c.checkpoint_id = h.checkpoint_id
WHERE r.id = %(id)s;

-- name: effects
-- What the run has done outside, by state.
SELECT e.state, count(*) FROM effects e
WHERE e.lineage = (SELECT coalesce(d.lineage, d.run_id) FROM run_details d WHERE d.run_id = %(id)s)
GROUP BY 1;

-- name: owner
SELECT user_id, key_id FROM run_details WHERE run_id = %(id)s;

-- name: to_replay
-- Dead letters of all tenants that recovery may replay by itself: of these errors, not too often, and each time after twice
-- the time before.
SELECT r.id, r.tenant FROM runs r JOIN run_details d ON d.run_id = r.id
WHERE r.status = 'failed' AND r.discarded_at IS NULL
  AND d.error_code = ANY(%(codes)s::text[]) AND d.replays < %(most)s
  AND r.ended_at < clock_timestamp() - make_interval(secs => %(after)s::float8 * 2 ^ least(d.replays, 10))
ORDER BY r.ended_at
LIMIT %(limit)s;
