-- Answers of model calls, kept for equal questions.

-- name: get
SELECT body FROM call_cache WHERE key = %(key)s AND expires_at > clock_timestamp();

-- name: put
-- Whoever answered last is as right as whoever answered first, and lives longer. A run that was erased meanwhile leaves
-- nothing behind: whoever deletes it waits for this statement, or this one does not find it.
WITH held AS MATERIALIZED (
    SELECT FROM runs WHERE id = %(run_id)s::uuid AND epoch = %(epoch)s AND status = 'running' FOR SHARE
)
INSERT INTO call_cache (key, body, expires_at)
SELECT %(key)s, %(body)s, clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE %(run_id)s::uuid IS NULL OR EXISTS (SELECT FROM held)
ON CONFLICT (key) DO UPDATE SET body = EXCLUDED.body, expires_at = EXCLUDED.expires_at;

-- name: forget
-- now(), since unlike clock_timestamp() it bounds what is read of the index.
WITH expired AS (
    SELECT key FROM call_cache WHERE expires_at <= now() ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM call_cache c USING expired e WHERE c.key = e.key;
