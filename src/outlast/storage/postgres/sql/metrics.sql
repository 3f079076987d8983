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

-- name: questions
-- Open questions of runs that wait, by kind: as in the inbox, one whose run has not stopped yet is not asked yet.
SELECT q.kind, count(*), extract(epoch FROM clock_timestamp() - min(q.asked_at))::float8
FROM questions q JOIN runs r ON r.id = q.run_id
WHERE q.status = 'open' AND r.status = 'waiting'
GROUP BY q.kind;

-- name: budgets
-- The fullest counter of each span, as its last call has left it. A counter of a budget that was taken away stays as it
-- was to the end of its period.
WITH used AS (
    SELECT CASE WHEN c.period = DATE 'epoch' THEN 'total' WHEN b.span IS NOT NULL THEN b.span
                ELSE named.span END AS span,
           (c.spent_micros + c.reserved_micros)::float8 / nullif(c.limit_micros + 0.0, 0) AS micros,
           (c.spent_tokens + c.reserved_tokens)::float8 / nullif(c.limit_tokens + 0.0, 0) AS tokens
    FROM budget_counters c
    LEFT JOIN budgets b ON b.tenant = c.tenant AND b.name = c.name
    LEFT JOIN unnest(%(names)s::text[], %(spans)s::text[]) AS named (name, span) ON named.name = c.name
    WHERE c.period = DATE 'epoch'
       OR c.period = (clock_timestamp() AT TIME ZONE %(zone)s)::date
       OR c.period = date_trunc('month', clock_timestamp() AT TIME ZONE %(zone)s)::date
)
SELECT span, max(micros), max(tokens) FROM used WHERE span IS NOT NULL GROUP BY span;

-- name: session_turn
-- Until when sessions are over by now, if this is the process that counts them: that of the oldest live worker.
SELECT clock_timestamp() - make_interval(secs => %(pause)s::float8)
WHERE EXISTS (
    SELECT FROM (SELECT host, pid FROM workers WHERE state = 'live' ORDER BY started_at, id LIMIT 1) AS oldest
    WHERE oldest.host = %(host)s AND oldest.pid = %(pid)s
);

-- name: sessions
-- Threads whose last run ended between two moments, with nothing since; and how long that went on, from the first run
-- behind which there was no such pause.
WITH quiet AS (
    SELECT DISTINCT thread_key FROM runs WHERE ended_at > %(since)s AND ended_at <= %(until)s
)
SELECT last.agent, extract(epoch FROM last.ended_at - began.at)::float8
FROM quiet q
CROSS JOIN LATERAL (
    SELECT agent, ended_at FROM runs r
    WHERE r.thread_key = q.thread_key AND ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT 1
) AS last
CROSS JOIN LATERAL (
    SELECT max(created_at) AS at FROM (
        SELECT created_at, max(ended_at) OVER (ORDER BY created_at, id ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW)
                           AS before
        FROM runs r WHERE r.thread_key = q.thread_key
    ) AS each
    WHERE before IS NULL OR created_at > before + make_interval(secs => %(pause)s::float8)
) AS began
WHERE last.ended_at <= %(until)s
  AND NOT EXISTS (SELECT FROM runs r WHERE r.thread_key = q.thread_key AND r.ended_at IS NULL);
