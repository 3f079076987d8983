-- Erasing and handing out what belongs to somebody. What happens to each table is in erasure_rules.py.

-- name: threads_of_user
-- On which somebody ever ran something, or which name them as their owner: in order, to go on behind the last one.
SELECT t.key, t.thread_id FROM threads t
WHERE t.tenant = %(tenant)s AND t.key > %(after)s AND t.key IN (
    SELECT r.thread_key FROM run_details d JOIN runs r ON r.id = d.run_id WHERE d.user_id = %(user)s
    UNION
    SELECT d.thread_key FROM thread_details d
    WHERE d.metadata @> jsonb_build_object('owner', %(user)s::text) AND d.metadata ->> 'owner' = %(user)s
)
ORDER BY t.key
LIMIT %(limit)s;

-- name: threads_of_tenant
SELECT key, thread_id FROM threads
WHERE tenant = %(tenant)s AND key > %(after)s AND thread_id <> ''
ORDER BY key
LIMIT %(limit)s;

-- name: thread_by_key
SELECT key, thread_id FROM threads WHERE tenant = %(tenant)s AND key = %(key)s;

-- name: lock_thread
-- Whoever adds a run, and whoever writes a checkpoint, waits from here on.
SELECT FROM threads WHERE key = %(key)s FOR UPDATE;

-- name: runs_of_threads
-- And the runs under whose ids their answers and effects are remembered, which may be gone.
SELECT r.id FROM runs r WHERE r.thread_key = ANY(%(threads)s::uuid[])
UNION
SELECT d.lineage FROM runs r JOIN run_details d ON d.run_id = r.id
WHERE r.thread_key = ANY(%(threads)s::uuid[]) AND d.lineage IS NOT NULL;

-- name: begin
INSERT INTO erasures (tenant, scope, subject, asked_by, paths)
VALUES (%(tenant)s, %(scope)s, %(subject)s, %(asked_by)s, %(paths)s::text[])
RETURNING id, tenant, scope, subject, asked_by, begun_at, ended_at, removed;

-- name: end
-- No row: somebody else has finished it.
UPDATE erasures SET state = 'done', ended_at = clock_timestamp(), removed = %(removed)s::jsonb, paths = NULL
WHERE id = %(id)s AND state = 'begun'
RETURNING id, tenant, scope, subject, asked_by, begun_at, ended_at, removed;

-- name: unfinished
-- Interrupted for so long that nobody is at it any more; if somebody is, both do the same.
SELECT e.id, e.tenant, e.scope, CASE e.scope WHEN 'tenant' THEN e.subject ELSE n.name END, e.paths
FROM erasures e
LEFT JOIN audit_names n ON n.tenant = e.tenant AND n.kind = e.scope AND n.pseudonym::text = e.subject
WHERE e.state = 'begun' AND e.begun_at < now() - make_interval(secs => %(age)s)
ORDER BY e.begun_at;

-- name: receipts
SELECT id, tenant, scope, subject, asked_by, begun_at, ended_at, removed
FROM erasures
WHERE tenant = %(tenant)s AND (%(id)s::uuid IS NULL OR id = %(id)s)
ORDER BY begun_at DESC
LIMIT %(limit)s;
