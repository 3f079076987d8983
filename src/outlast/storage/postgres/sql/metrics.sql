-- How much there is to do. Each count reads a small partial index and no ended run.

-- name: runs
SELECT 'queued', count(*), coalesce(extract(epoch FROM clock_timestamp() - min(available_at)), 0)::float8
FROM runs WHERE status = 'queued' AND available_at <= clock_timestamp()
UNION ALL
SELECT 'later', count(*), 0 FROM runs WHERE status = 'queued' AND available_at > clock_timestamp()
UNION ALL
SELECT 'running', count(*), 0 FROM runs WHERE worker_id IS NOT NULL
UNION ALL
SELECT 'waiting', count(*), 0 FROM runs WHERE status = 'waiting'
UNION ALL
SELECT 'blocked', count(*), 0 FROM runs WHERE status = 'blocked';

-- name: webhooks
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
FROM webhook_deliveries WHERE state = 'pending';

-- name: notifications
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
FROM (
    SELECT created_at FROM notification_messages WHERE state = 'pending'
    UNION ALL
    SELECT created_at FROM notifications WHERE routed_at IS NULL
) AS untold;

-- name: dead_letters
-- An index holds all that is needed, of the few that nobody has dealt with.
SELECT agent, count(*), extract(epoch FROM clock_timestamp() - min(ended_at))::float8
FROM runs WHERE status = 'failed' AND discarded_at IS NULL
GROUP BY agent;
