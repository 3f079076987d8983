-- Reports of ended runs that are still to be sent. The rows come from the statements that end runs (run_ends.sql).

-- name: take
-- A row taken is due again when its lease is over: a sender that dies holds nothing up for longer. `own` are paths of
-- the API itself, which only a process that serves it can call. now() is this statement's time, as it is a transaction of
-- its own, and unlike clock_timestamp() it bounds what is read of the index.
WITH due AS (
    SELECT id FROM webhook_deliveries
    WHERE state = 'pending' AND due_at <= now() AND starts_with(url, '/') = %(own)s
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries w
SET attempts = attempts + 1, due_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
FROM due WHERE w.id = due.id
RETURNING w.id, w.run_id, w.tenant, w.url, w.attempts, extract(epoch FROM clock_timestamp() - w.created_at)::float8;

-- name: delivered
UPDATE webhook_deliveries SET state = 'delivered', delivered_at = clock_timestamp(), last_error = NULL
WHERE id = %(id)s AND attempts = %(attempts)s AND state = 'pending';

-- name: failed
-- Of the attempt that was just made only: a sender that was suspended over its lease has no say any more.
UPDATE webhook_deliveries
SET last_error = %(error)s,
    state = CASE WHEN %(retry_seconds)s::float8 IS NULL THEN 'failed' ELSE 'pending' END,
    due_at = clock_timestamp() + make_interval(secs => coalesce(%(retry_seconds)s::float8, 0))
WHERE id = %(id)s AND attempts = %(attempts)s AND state = 'pending';
