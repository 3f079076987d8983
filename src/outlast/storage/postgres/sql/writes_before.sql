-- What tasks had written where a thread stands, kept for the rollback of a run that goes on from there.

-- name: keep
-- A place without writes gives one row without a task: there is nothing to put back, but something to take away.
INSERT INTO writes_before (run_id, thread_key, ns, checkpoint_id, task_id, idx, count, epoch, task_path, body)
SELECT %(run_id)s, h.thread_key, h.ns, h.checkpoint_id, w.task_id, w.idx, w.count, w.epoch, w.task_path, w.body
FROM checkpoint_heads h
LEFT JOIN checkpoint_writes w USING (thread_key, ns, checkpoint_id)
WHERE h.thread_key = %(thread_key)s;

-- name: forget
-- At most one unfinished run of a thread can be the one that went on: what was kept for earlier ones is of no use.
DELETE FROM writes_before WHERE thread_key = %(thread_key)s AND run_id <> %(run_id)s;

-- name: clear
DELETE FROM checkpoint_writes w
USING (
    SELECT DISTINCT thread_key, ns, checkpoint_id FROM writes_before
    WHERE thread_key = %(thread_key)s AND run_id = ANY(%(run_ids)s::uuid[])
) AS b
WHERE w.thread_key = b.thread_key AND w.ns = b.ns AND w.checkpoint_id = b.checkpoint_id;

-- name: restore
INSERT INTO checkpoint_writes (thread_key, ns, checkpoint_id, task_id, idx, count, epoch, task_path, body)
SELECT b.thread_key, b.ns, b.checkpoint_id, b.task_id, b.idx, b.count, b.epoch, b.task_path, b.body
FROM writes_before b
JOIN checkpoints c USING (thread_key, ns, checkpoint_id)
WHERE b.thread_key = %(thread_key)s AND b.run_id = ANY(%(run_ids)s::uuid[]) AND b.task_id IS NOT NULL;
