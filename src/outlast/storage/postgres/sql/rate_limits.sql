-- Rate limits by the generic cell rate algorithm: each limit is one moment, until which it is spoken for.
-- Time is the database's: clocks of workers differ, and a limit that is kept by the fastest of them is none.

-- name: take
-- Takes a slot of each limit, or of none when the wait is longer than `patience`; answers the seconds until then.
-- Rows are locked in the order of names, so that no two calls wait for each other, and the clock is read after that.
-- Who has to wait takes only what it waits for: its turn in the other limits comes when it really asks, else a long
-- queue for one model would hold back the other models of its provider.
WITH locked AS MATERIALIZED (
    SELECT l.name, l.free_at, l.shifted, a.seconds,
           greatest(l.free_at - make_interval(secs => a.burst), l.paused_until) AS turn_at
    FROM unnest(%(names)s::text[], %(seconds)s::float8[], %(bursts)s::float8[]) AS a (name, seconds, burst)
    JOIN rate_limits l USING (name)
    ORDER BY l.name
    FOR UPDATE OF l
), turn AS MATERIALIZED (
    SELECT count(*) AS known, max(turn_at) AS at,
           greatest(0, extract(epoch FROM max(turn_at) - clock_timestamp()))::float8 AS wait
    FROM locked
), taken AS (
    UPDATE rate_limits l
    SET free_at = greatest(k.free_at, clock_timestamp()) + make_interval(secs => k.seconds)
    FROM locked k, turn t
    WHERE l.name = k.name AND t.known = cardinality(%(names)s::text[])
      AND t.wait <= %(patience)s::float8 AND (t.wait = 0 OR k.turn_at = t.at)
    RETURNING l.name, k.shifted
)
SELECT (SELECT known FROM turn), (SELECT wait FROM turn), array_agg(name), array_agg(shifted) FROM taken;

-- name: create
-- In the order of names, as above.
INSERT INTO rate_limits (name) SELECT name FROM unnest(%(names)s::text[]) AS n (name) ORDER BY name
ON CONFLICT (name) DO NOTHING;

-- name: shifted
-- What pauses have added since a slot was taken.
SELECT name, shifted FROM rate_limits WHERE name = ANY(%(names)s::text[]);

-- name: settle
-- Gives back what was taken and not used, or takes what was used beyond it.
WITH locked AS (
    SELECT l.name, a.seconds
    FROM unnest(%(names)s::text[], %(seconds)s::float8[]) AS a (name, seconds)
    JOIN rate_limits l USING (name)
    ORDER BY l.name
    FOR UPDATE OF l
)
UPDATE rate_limits l SET free_at = l.free_at + make_interval(secs => k.seconds)
FROM locked k WHERE l.name = k.name;

-- name: pause
-- Moves everything that is to come, and only by what earlier answers have not moved it already: a storm of refusals
-- says the same thing many times.
WITH locked AS MATERIALIZED (
    SELECT name, paused_until FROM rate_limits WHERE name = ANY(%(names)s::text[]) ORDER BY name FOR UPDATE
), longer AS (
    SELECT name, clock_timestamp() AS now,
           make_interval(secs => %(seconds)s) - greatest(paused_until - clock_timestamp(), interval '0') AS by
    FROM locked
)
UPDATE rate_limits l
SET free_at = greatest(l.free_at, p.now) + p.by,
    paused_until = greatest(l.paused_until, p.now) + p.by,
    shifted = l.shifted + extract(epoch FROM p.by)
FROM longer p WHERE l.name = p.name AND p.by > interval '0';

-- name: forget
-- Limits that nobody has used for a day: keys that were replaced.
WITH old AS (
    SELECT name FROM rate_limits WHERE free_at < clock_timestamp() - interval '1 day'
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM rate_limits l USING old WHERE l.name = old.name;
