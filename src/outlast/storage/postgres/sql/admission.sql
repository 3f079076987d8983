-- Limits of requests and decisions about them.

-- name: take
-- What passes now or later under all windows of a request, or under none. What was spent in a slice comes back when all of
-- the slice is older than the window (60 slices), so that in no stretch of the window's length more than `most` passes.
-- Rows are locked in the order of keys, so that no two requests wait for each other, and the clock is read after that.
-- `tail` is what was spent in a slice or later: the newest slice with which the cost does not fit has to come back first.
-- That is looked for only where the cost does not fit into all that was spent: it sorts sixty slices of each window.
-- Nothing is put before what was put into slices to come, or it could make one of their windows too full.
-- Slices are kept in order, so what is over stands in front, and the usual request adds to the last one, or one behind.
WITH asked AS (
    SELECT * FROM unnest(%(keys)s::uuid[], %(slices)s::int8[], %(most)s::int4[], %(patience)s::int8[])
    WITH ORDINALITY AS a (key, slice, most, patience, nr)
), locked AS MATERIALIZED (
    SELECT a.*, l.slices, l.spent
    FROM asked a JOIN admission_limits l USING (key)
    ORDER BY l.key
    FOR UPDATE OF l
), clock AS MATERIALIZED (
    SELECT count(*) AS known, (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS now FROM locked
), places AS MATERIALIZED (
    SELECT k.nr, k.key, k.slice, k.patience, k.most - p.total AS remaining, p.over,
           CASE WHEN p.total + %(cost)s <= k.most THEN 0
                ELSE greatest(0, greatest(p.latest, 61 + (
                    SELECT max(u.slice) FROM (
                        SELECT s.slice, sum(s.n) OVER (ORDER BY s.slice DESC) AS tail
                        FROM unnest(k.slices[p.over + 1:], k.spent[p.over + 1:]) AS s (slice, n)
                    ) u WHERE u.tail > k.most - %(cost)s
                )) * k.slice - c.now)
           END AS wait
    FROM locked k
    CROSS JOIN clock c
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(s.n) FILTER (WHERE s.slice >= c.now / k.slice - 60), 0)::int4 AS total,
               count(*) FILTER (WHERE s.slice < c.now / k.slice - 60)::int4 AS over, max(s.slice) AS latest
        FROM unnest(k.slices, k.spent) AS s (slice, n)
    ) p
), turn AS MATERIALIZED (
    SELECT bool_and(wait <= patience) AS granted, max(wait) AS wait FROM places
), taken AS (
    UPDATE admission_limits l
    SET slices = CASE
            WHEN m.last > m.at THEN ARRAY(
                SELECT u.slice FROM unnest(l.slices[p.over + 1:] || m.at) AS u (slice) GROUP BY u.slice ORDER BY u.slice)
            WHEN m.last = m.at THEN l.slices[p.over + 1:]
            ELSE l.slices[p.over + 1:] || m.at
        END,
        spent = CASE
            WHEN m.last > m.at THEN ARRAY(
                SELECT sum(u.n)::int4
                FROM unnest(l.slices[p.over + 1:] || m.at, l.spent[p.over + 1:] || %(cost)s::int4) AS u (slice, n)
                GROUP BY u.slice ORDER BY u.slice)
            WHEN m.last = m.at THEN l.spent[p.over + 1:m.length - 1] || (l.spent[m.length] + %(cost)s::int4)
            ELSE l.spent[p.over + 1:] || %(cost)s::int4
        END,
        free_at = greatest(l.free_at, to_timestamp((m.at + 62) * p.slice / 1000000.0))
    FROM places p, turn t, clock c, LATERAL (
        SELECT (c.now + t.wait) / p.slice AS at, k.slices[cardinality(k.slices)] AS last, cardinality(k.slices) AS length
        FROM locked k WHERE k.key = p.key
    ) m
    WHERE l.key = p.key AND t.granted AND c.known = cardinality(%(keys)s::uuid[])
)
SELECT c.known, t.granted, coalesce(t.wait, 0)::float8 / 1000000,
       (SELECT array_agg(wait::float8 / 1000000 ORDER BY nr) FROM places),
       (SELECT array_agg(remaining ORDER BY nr) FROM places),
       -- What follows in the same round trip is done if this was; see `together.provided`.
       set_config('outlast.provided', CASE
           WHEN c.known = cardinality(%(keys)s::uuid[]) AND t.granted AND t.wait = 0 THEN %(provides)s::text ELSE ''
       END, false)
FROM clock c, turn t;

-- name: create
-- In the order of keys, as above.
INSERT INTO admission_limits (key) SELECT key FROM unnest(%(keys)s::uuid[]) AS n (key) ORDER BY key
ON CONFLICT (key) DO NOTHING;

-- name: forget_limits
WITH old AS (
    SELECT key FROM admission_limits WHERE free_at < clock_timestamp() - interval '1 minute'
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM admission_limits l USING old WHERE l.key = old.key;

-- name: queue
-- How many runs are in the queue, and for how long the oldest one has been due. Both parts read small partial indexes.
SELECT q.tenant, sum(q.runs)::int8, max(q.seconds)::float8
FROM (
    SELECT tenant, count(*) AS runs, extract(epoch FROM clock_timestamp() - min(available_at)) AS seconds
    FROM runs WHERE status = 'queued' GROUP BY tenant
    UNION ALL
    SELECT tenant, count(*), 0 FROM runs WHERE status = 'blocked' GROUP BY tenant
) q
GROUP BY q.tenant;

-- name: admitted
-- With the run, in its transaction; nothing is kept where no run was stored.
INSERT INTO admission_decisions (id, agent, user_id, key_id, verdict, stage, code, reason, delay_seconds)
SELECT r.id, r.agent, %(user_id)s, %(key_id)s, %(verdict)s, %(stage)s, %(code)s, %(reason)s, %(delay_seconds)s::real
FROM runs r WHERE r.id = %(id)s
ON CONFLICT (id) DO NOTHING;

-- name: refused
INSERT INTO admission_decisions (id, agent, user_id, key_id, thread_id, verdict, stage, code, reason)
VALUES (%(id)s, %(agent)s, %(user_id)s, %(key_id)s, %(thread_id)s, 'refuse', %(stage)s, %(code)s, %(reason)s)
ON CONFLICT (id) DO NOTHING;

-- name: refused_again
UPDATE admission_decisions SET times = times + %(times)s WHERE id = %(id)s;

-- name: of_run
SELECT id, at, agent, user_id, key_id, thread_id, verdict, stage, code, reason, delay_seconds::float8, times
FROM admission_decisions WHERE id = %(id)s;

-- name: find
-- Newest first, by the time in the ids; a NULL argument does not filter.
SELECT id, at, agent, user_id, key_id, thread_id, verdict, stage, code, reason, delay_seconds::float8, times
FROM admission_decisions
WHERE (%(verdict)s::text IS NULL OR verdict = %(verdict)s)
  AND (%(agent)s::text IS NULL OR agent = %(agent)s)
  AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
  AND (NOT %(objections)s OR verdict <> 'allow')
ORDER BY id DESC
LIMIT %(limit)s;
