-- The breakers of models, shared by all processes.

-- name: exchange
-- Report what this process saw since it last did, and look at what all of them saw. Counting takes no lock that another
-- process waits for longer than its own statement; what was just counted is not in `tallies` yet, the caller adds it.
-- SKIP LOCKED: two processes that clear away the same seconds would wait for each other's counts.
WITH now AS MATERIALIZED (
    SELECT extract(epoch FROM clock_timestamp())::float8 AS seconds
), counted AS (
    INSERT INTO breaker_tallies AS t (circuit, second, calls, failures)
    SELECT %(circuit)s::text, floor(now.seconds)::bigint, %(calls)s::integer, %(failures)s::integer FROM now
    WHERE %(calls)s::integer > 0
    ON CONFLICT (circuit, second) DO UPDATE
    SET calls = t.calls + excluded.calls, failures = t.failures + excluded.failures
), cleared AS (
    DELETE FROM breaker_tallies
    WHERE (circuit, second) IN (
        SELECT t.circuit, t.second FROM breaker_tallies t, now
        WHERE t.circuit = %(circuit)s AND t.second < floor(now.seconds) - %(window)s::float8 - 1
        FOR UPDATE OF t SKIP LOCKED
    )
)
SELECT now.seconds, b.version, b.openings, extract(epoch FROM b.since)::float8,
       extract(epoch FROM b.probe_at)::float8, b.probe_by, extract(epoch FROM b.probe_until)::float8,
       (SELECT coalesce(array_agg(ARRAY[t.second, t.calls, t.failures] ORDER BY t.second), ARRAY[]::bigint[])
        FROM breaker_tallies t WHERE t.circuit = %(circuit)s AND t.second >= floor(now.seconds) - %(window)s::float8)
FROM now LEFT JOIN breakers b ON b.circuit = %(circuit)s;

-- name: swap
-- Replace a circuit by what became of it, if nobody else has replaced it meanwhile; version 0 is one without a row.
INSERT INTO breakers AS b (circuit, model, version, openings, since, probe_at, probe_by, probe_until)
SELECT %(circuit)s::text, %(model)s::text, %(version)s::bigint, %(openings)s::integer, to_timestamp(%(since)s::float8),
       to_timestamp(%(probe_at)s::float8), %(probe_by)s::uuid, to_timestamp(%(probe_until)s::float8)
WHERE %(before)s::bigint = 0 OR EXISTS (SELECT FROM breakers o WHERE o.circuit = %(circuit)s)
ON CONFLICT (circuit) DO UPDATE
SET model = excluded.model, version = excluded.version, openings = excluded.openings, since = excluded.since,
    probe_at = excluded.probe_at, probe_by = excluded.probe_by, probe_until = excluded.probe_until
WHERE b.version = %(before)s::bigint
RETURNING b.version;

-- name: states
-- For metrics: of each model, how many of the keys it was asked with are left alone, and where the worst of them stands:
-- 0 calls pass, 1 one call tries, 2 left alone.
SELECT model, count(*) FILTER (WHERE openings > 0),
       max(CASE WHEN openings = 0 THEN 0 WHEN probe_until > clock_timestamp() THEN 1 ELSE 2 END)
FROM breakers GROUP BY model ORDER BY model;
