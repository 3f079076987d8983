-- What runs say while they run. A run's owner writes its last record before it settles.

-- name: append
-- Under the fence of each run, as every write of a run. FOR SHARE: whoever raises an epoch waits for this statement, or
-- this one sees the raised epoch; so nothing of an old claim is committed after the first record of a new one. The hint
-- goes out with the rows and never before them.
WITH fence AS MATERIALIZED (
    SELECT r.id, r.epoch, r.thread_key, r.tenant FROM runs r
    JOIN unnest(%(runs)s::uuid[], %(epochs)s::integer[]) AS f (id, epoch) ON r.id = f.id AND r.epoch = f.epoch
    WHERE r.status = 'running'
    ORDER BY r.id
    FOR SHARE OF r
), added AS (
    INSERT INTO run_events (tenant, thread_key, pos, run_id, epoch, mode, ns, data)
    SELECT f.tenant, f.thread_key, e.pos, f.id, f.epoch, e.mode, e.ns, e.data
    FROM unnest(%(record_runs)s::uuid[], %(positions)s::bigint[], %(modes)s::text[], %(namespaces)s::text[],
                %(data)s::bytea[]) AS e (run_id, pos, mode, ns, data)
    JOIN fence f ON f.id = e.run_id
    -- A batch is sent again when the answer to it was lost.
    ON CONFLICT (thread_key, pos) DO NOTHING
    RETURNING thread_key
), told AS (
    SELECT pg_notify(%(channel)s, 'events:' || CASE WHEN count(DISTINCT thread_key) > %(most)s THEN ''
        ELSE string_agg(DISTINCT replace(thread_key::text, '-', ''), ',') END)
    FROM added
    HAVING count(*) > 0
)
SELECT f.id, (SELECT count(*) FROM told) FROM fence f;

-- name: add_outside
-- A change of the state from outside of any run, if anybody follows the thread; nothing runs there meanwhile, since the
-- caller has seen to that, and two callers meet at the thread's row. A claim counts from the position of its time, the
-- first one excluded, so this one is free.
WITH locked AS MATERIALIZED (
    SELECT t.key FROM threads t
    JOIN thread_watches w ON w.thread_key = t.key AND w.until > clock_timestamp()
    WHERE t.key = %(thread_key)s
    FOR UPDATE OF t
), added AS (
    INSERT INTO run_events (thread_key, pos, mode, ns, data)
    SELECT l.key,
           greatest(
               floor(extract(epoch FROM clock_timestamp() - timestamptz '2025-01-01 00:00:00+00') * 1000)::bigint * 8192,
               (SELECT max(e.pos) + 1 FROM run_events e WHERE e.thread_key = l.key),
               (SELECT d.last_pos + 1 FROM thread_details d WHERE d.thread_key = l.key)
           ),
           %(mode)s, '', %(data)s
    FROM locked l
    ON CONFLICT (thread_key, pos) DO NOTHING
    RETURNING thread_key
)
SELECT pg_notify(%(channel)s, 'events:' || replace(thread_key::text, '-', '')) FROM added;

-- name: births
-- Where following a thread begins: its last position, the time, and the runs that ended just now. They have to be named:
-- a settlement is seen when it is committed, which is after the time that it gives as its end. now() is this statement's
-- time, as it is a transaction of its own, and unlike clock_timestamp() it bounds what is read of the index.
SELECT c.thread_key,
       greatest(
           coalesce((SELECT max(e.pos) FROM run_events e WHERE e.thread_key = c.thread_key), 0),
           coalesce((SELECT d.last_pos FROM thread_details d WHERE d.thread_key = c.thread_key), 0)
       ) AS head,
       clock_timestamp() AS born_at,
       ARRAY(
           SELECT r.id FROM runs r
           WHERE r.thread_key = c.thread_key AND r.ended_at >= now() - make_interval(secs => %(slack)s)
       ) AS ended
FROM unnest(%(threads)s::uuid[]) AS c (thread_key);

-- part: behind
-- What follows a position, for many threads at once; for each at most `limit` records, and no more than one behind
-- `bytes`. octet_length reads nothing out of line.
FROM unnest(%(threads)s::uuid[], %(after)s::bigint[], %(runs)s::uuid[]) AS c (thread_key, after, run_id)
CROSS JOIN LATERAL (
    SELECT * FROM (
        SELECT n.*, sum(octet_length(n.data)) OVER (ORDER BY n.pos) - octet_length(n.data) AS before
        FROM (
            SELECT pos, run_id, mode, ns, data FROM run_events
            WHERE thread_key = c.thread_key AND pos > c.after AND (c.run_id IS NULL OR run_id = c.run_id)
            ORDER BY pos
            LIMIT %(limit)s
        ) n
    ) counted
    WHERE before < %(bytes)s
) e

-- name: records
SELECT c.thread_key, e.run_id, e.pos, e.mode, e.ns, e.data
--include behind
ORDER BY c.thread_key, e.pos;

-- name: news
-- Records as above; runs that ended since a time, oldest first; and which of some runs have nothing more to say: ended,
-- waiting for a person, or gone. One statement, since it has to be one moment: whoever sees an end then sees all that the
-- run said, and whoever sees the next run speak sees the end of the one before. Of the far past nothing is told: no
-- record of it is kept either. now() as in `births`.
SELECT c.thread_key, e.run_id, e.pos, e.mode, e.ns, e.data,
       NULL AS status, NULL AS agent, NULL::timestamptz AS claimed_at, NULL::timestamptz AS ended_at,
       NULL::bigint AS last_pos, NULL AS error_code, NULL AS error_message, NULL::jsonb AS interrupts,
       NULL::bytea AS options, false AS asked
--include behind
UNION ALL
SELECT r.thread_key, r.id, NULL, NULL, NULL, NULL, r.status, r.agent, r.claimed_at, r.ended_at, d.last_pos,
       d.error_code, d.error_message, d.interrupts, d.options, false
FROM unnest(%(ended_threads)s::uuid[], %(since)s::timestamptz[]) AS c (thread_key, since)
CROSS JOIN LATERAL (
    SELECT * FROM runs
    WHERE thread_key = c.thread_key AND ended_at >= greatest(c.since, now() - interval '1 hour')
    ORDER BY ended_at
    LIMIT %(most_ends)s
) r
JOIN run_details d ON d.run_id = r.id
UNION ALL
SELECT r.thread_key, u.id, NULL, NULL, NULL, NULL, r.status, r.agent, r.claimed_at, r.ended_at, d.last_pos,
       d.error_code, d.error_message, d.interrupts, d.options, true
FROM unnest(%(asked)s::uuid[]) AS u (id)
LEFT JOIN runs r ON r.id = u.id
LEFT JOIN run_details d ON d.run_id = r.id
WHERE r.id IS NULL OR r.status NOT IN ('blocked', 'queued', 'running');

-- name: checkpoint_record
-- Where a run streamed a checkpoint, which says its own id first of all in `config`.
SELECT pos FROM run_events
WHERE thread_key = %(thread_key)s AND run_id = %(run_id)s AND mode IN ('checkpoints', 'debug')
  AND coalesce(
      convert_from(data, 'UTF8')::json #>> '{config,configurable,checkpoint_id}',
      convert_from(data, 'UTF8')::json #>> '{payload,config,configurable,checkpoint_id}'
  ) = %(checkpoint_id)s
ORDER BY pos
LIMIT 1;

-- name: watch
INSERT INTO thread_watches (thread_key, until)
SELECT thread_key, clock_timestamp() + make_interval(secs => %(seconds)s)
FROM unnest(%(threads)s::uuid[]) AS w (thread_key)
ON CONFLICT (thread_key) DO UPDATE SET until = EXCLUDED.until;

-- name: watched
SELECT thread_key FROM thread_watches WHERE thread_key = ANY(%(threads)s) AND until > clock_timestamp();

-- name: forget_watches
DELETE FROM thread_watches WHERE until < clock_timestamp() - interval '1 minute';
