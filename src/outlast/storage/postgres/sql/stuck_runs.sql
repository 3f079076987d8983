-- Runs that may not go on by themselves, with what says why. Judged in `recovery.stuck`.

-- part: judged
-- The last sign of life of what runs: its claim, its progress, a model call that was answered, its last checkpoint (whose id
-- begins with a time, and is read by whoever gets it).
SELECT t.thread_id, t.tenant, r.id, r.agent, r.status, d.error_code, r.discarded_at IS NOT NULL,
       CASE r.status WHEN 'failed' THEN r.ended_at WHEN 'cancelled' THEN r.ended_at WHEN 'queued' THEN r.available_at
                     WHEN 'running' THEN greatest(r.claimed_at, d.progress_at, (
                         SELECT max(j.at) FROM call_journal j WHERE j.lineage = coalesce(d.lineage, r.id)))
                     ELSE r.created_at END,
       (SELECT h.checkpoint_id FROM checkpoint_heads h WHERE h.thread_key = r.thread_key AND h.ns = ''),
       EXISTS (SELECT FROM workers w WHERE w.id = r.worker_id AND w.state IN ('live', 'draining')
                 AND w.heartbeat_at > clock_timestamp() - make_interval(secs => %(lease)s)),
       EXISTS (SELECT FROM workers w WHERE w.state = 'live' AND r.agent = ANY(w.agents)
                 AND w.heartbeat_at > clock_timestamp() - make_interval(secs => %(lease)s)),
       is_switched_off(r.tenant, r.agent, r.id), t.quarantine_reason, clock_timestamp(), d.error_message
FROM runs r
JOIN run_details d ON d.run_id = r.id
JOIN threads t ON t.key = r.thread_key

-- name: suspects
-- Each part is one look at a small partial index: what has failed, what runs without saying anything, what is due and not
-- taken, what is blocked behind nothing. Oldest first.
WITH suspects AS (
    (SELECT id FROM runs WHERE status = 'failed' AND discarded_at IS NULL ORDER BY ended_at DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT r.id FROM runs r WHERE r.worker_id IS NOT NULL AND (
        r.claimed_at < clock_timestamp() - make_interval(secs => %(silent)s)
        OR NOT EXISTS (SELECT FROM workers w WHERE w.id = r.worker_id AND w.state IN ('live', 'draining')))
     LIMIT %(limit)s)
    UNION ALL
    (SELECT id FROM runs
     WHERE status = 'queued' AND available_at < clock_timestamp() - make_interval(secs => %(patience)s)
     LIMIT %(limit)s)
    UNION ALL
    (SELECT b.id FROM runs b WHERE b.status = 'blocked' AND NOT EXISTS (
        SELECT FROM runs f WHERE f.thread_key = b.thread_key AND f.status IN ('queued', 'running', 'waiting'))
     LIMIT %(limit)s)
)
--include judged
WHERE r.id IN (SELECT id FROM suspects) AND (%(agent)s::text IS NULL OR r.agent = %(agent)s)
  -- Where a later run has gone on, the thread is not held up; the dead letter is still one.
  AND (r.status <> 'failed' OR NOT EXISTS (
      SELECT FROM runs l WHERE l.thread_key = r.thread_key AND l.created_at > r.created_at))
ORDER BY 8 NULLS FIRST, r.id
LIMIT %(limit)s;

-- name: of_thread
-- The run at the front of the thread, else the newest.
--include judged
WHERE r.id = coalesce(
    (SELECT id FROM runs WHERE thread_key = %(thread_key)s AND status IN ('queued', 'running', 'waiting')),
    (SELECT id FROM runs WHERE thread_key = %(thread_key)s ORDER BY created_at DESC LIMIT 1)
) AND t.deleted_at IS NULL;

-- name: thread
SELECT thread_id, tenant, quarantine_reason FROM threads WHERE key = %(thread_key)s AND deleted_at IS NULL;

-- name: quarantined
SELECT thread_id, tenant, quarantine_reason FROM threads
WHERE quarantine_reason IS NOT NULL AND deleted_at IS NULL
ORDER BY created_at
LIMIT %(limit)s;
