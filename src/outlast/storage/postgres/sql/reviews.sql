-- Reviews of outputs. Every write belongs to a run and is accepted from its owner only.

-- part: fence
-- FOR SHARE: whoever raises the epoch waits for this statement, or this one sees the raised epoch.
WITH fence AS MATERIALIZED (
    SELECT id FROM runs
    WHERE id = %(run_id)s AND epoch = %(epoch)s AND status = 'running'
    FOR SHARE
)

-- part: columns
r.thread_key, r.lineage, r.position, r.run_id, r.checkpoint_id, r.action, r.question_id, r.body, r.hash, r.decision

-- name: standing
-- The last decision of a line of runs, and how many repairs were begun since a person spoke last: in an answer, or by
-- replaying a run that had failed.
SELECT
--include columns
, (SELECT count(*)::int FROM reviews b
   WHERE b.thread_key = r.thread_key AND b.lineage = r.lineage AND b.action = 'repair'
     AND b.position > coalesce((SELECT max(e.position) FROM reviews e
                                WHERE e.thread_key = r.thread_key AND e.lineage = r.lineage
                                  AND (e.action = 'fail' OR e.decision IS NOT NULL)), 0))
FROM reviews r
WHERE r.thread_key = %(thread_key)s AND r.lineage = %(lineage)s
ORDER BY r.position DESC
LIMIT 1;

-- name: asked
-- The review that asked one of these questions on this thread: a copy of a thread has questions of its own.
SELECT
--include columns
FROM reviews r
WHERE r.question_id = ANY(%(questions)s) AND r.thread_key = %(thread_key)s
LIMIT 1;

-- name: add
-- The next decision of its line; the same one if it is sent again because the answer was lost. An output that is accepted
-- all the same says so in the metadata of its run.
--include fence
, marked AS (
    UPDATE run_details d SET metadata = d.metadata || %(mark)s::jsonb
    FROM fence WHERE d.run_id = fence.id AND %(mark)s::jsonb IS NOT NULL
)
INSERT INTO reviews AS r (thread_key, lineage, position, run_id, epoch, checkpoint_id, action, question_id, body, hash)
SELECT %(thread_key)s, %(lineage)s, %(position)s, fence.id, %(epoch)s, %(checkpoint_id)s, %(action)s, %(question_id)s,
       %(body)s, %(hash)s
FROM fence
ON CONFLICT (thread_key, lineage, position) DO UPDATE SET body = EXCLUDED.body
WHERE r.run_id = EXCLUDED.run_id AND r.epoch = EXCLUDED.epoch AND r.action = EXCLUDED.action
RETURNING r.position;

-- name: decide
-- What a person said, before it is done. Safe to send again; a second answer is refused where the first one was taken.
--include fence
UPDATE reviews r SET decision = %(decision)s, decided_at = coalesce(r.decided_at, clock_timestamp())
FROM fence
WHERE r.thread_key = %(thread_key)s AND r.lineage = %(lineage)s AND r.position = %(position)s
RETURNING r.position;

-- name: begun_with
-- What the run was started with that began a line of runs.
SELECT input, metadata FROM run_details WHERE run_id = %(lineage)s;

-- name: nearest
-- How many bits the input differs in from the nearest one that other runs of the agent have brought, and how many of those
-- are known; then it is known, too. Only the newest are looked at and kept, so that the cost has an end.
--include fence
, known AS MATERIALIZED (
    SELECT p.print FROM input_prints p
    WHERE p.tenant = current_tenant() AND p.agent = %(agent)s AND p.lineage <> %(lineage)s
    ORDER BY p.seen_at DESC
    LIMIT %(most)s
), remembered AS (
    INSERT INTO input_prints (agent, print, lineage)
    SELECT %(agent)s, %(print)s, %(lineage)s FROM fence
    ON CONFLICT DO NOTHING
), forgotten AS (
    -- What nobody looks at any more; a little each time, and past what another transaction is about to delete.
    DELETE FROM input_prints p
    WHERE p.tenant = current_tenant() AND p.agent = %(agent)s AND p.print IN (
        SELECT o.print FROM input_prints o
        WHERE o.tenant = current_tenant() AND o.agent = %(agent)s AND o.seen_at < (
            SELECT t.seen_at FROM input_prints t
            WHERE t.tenant = current_tenant() AND t.agent = %(agent)s
            ORDER BY t.seen_at DESC
            OFFSET %(most)s LIMIT 1
        )
        LIMIT 100
        FOR UPDATE SKIP LOCKED
    )
)
SELECT min(bit_count((k.print # %(print)s::bigint)::bit(64)))::int, count(k.print)::int, (SELECT count(*) FROM fence)::int
FROM known k;
