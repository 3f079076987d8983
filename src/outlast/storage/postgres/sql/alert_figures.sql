-- The figures that alerts are made of: a line for each, with its tenant, one label and the value. A statement is a source;
-- only those are read that a rule asks for. Each reads a small index.

-- name: dead_letters
-- An index holds all that is needed.
SELECT f.figure, d.tenant, 'agent', d.agent, f.value
FROM (
    SELECT tenant, agent, count(*) AS count, min(ended_at) AS oldest FROM runs
    WHERE status = 'failed' AND discarded_at IS NULL GROUP BY tenant, agent
) AS d CROSS JOIN LATERAL (VALUES
    ('dead_letters', d.count::float8),
    ('dead_letters_oldest_seconds', extract(epoch FROM clock_timestamp() - d.oldest)::float8)
) AS f (figure, value);

-- name: inbox
-- Of questions for which a run still waits.
SELECT f.figure, q.tenant, '', '', f.value
FROM (
    SELECT q.tenant, count(*) AS count, min(q.asked_at) AS oldest FROM questions q JOIN runs r ON r.id = q.run_id
    WHERE q.status = 'open' AND r.status IN ('waiting', 'interrupted') GROUP BY q.tenant
) AS q CROSS JOIN LATERAL (VALUES
    ('inbox_open', q.count::float8),
    ('inbox_oldest_seconds', extract(epoch FROM clock_timestamp() - q.oldest)::float8)
) AS f (figure, value);

-- name: queue
-- What a kill switch holds back waits because somebody wants it to. The switches of tools are asked of each run, and few
-- runs are held by one: they stay in.
WITH due AS (
    SELECT tenant, agent, count(*) AS count, min(available_at) AS oldest FROM runs
    WHERE status = 'queued' AND available_at <= clock_timestamp() GROUP BY tenant, agent
), waiting AS (
    SELECT d.*, EXISTS (
        SELECT FROM workers w WHERE w.state = 'live' AND d.agent = ANY(w.agents)
          AND w.heartbeat_at > clock_timestamp() - make_interval(secs => %(lease)s)) AS has_worker
    FROM due d WHERE NOT is_switched_off(d.tenant, d.agent, NULL)
)
SELECT f.figure, w.tenant, 'agent', w.agent, f.value
FROM waiting w CROSS JOIN LATERAL (VALUES
    ('queue_depth', w.count::float8),
    ('queue_oldest_seconds', extract(epoch FROM clock_timestamp() - w.oldest)::float8),
    ('runs_without_worker', CASE WHEN w.has_worker THEN 0 ELSE w.count END::float8)
) AS f (figure, value);

-- name: silent_runs
-- Runs that are said to run, and of which nothing was heard for long: no claim, no progress, no answer of a model, no
-- checkpoint. The id of a checkpoint is a UUID of version 6: 60 bits of it are a time in 100 ns since 1582.
WITH since AS MATERIALIZED (SELECT clock_timestamp() - make_interval(secs => %(silent)s) AS at)
SELECT 'runs_silent', r.tenant, 'agent', r.agent, count(*)::float8
FROM runs r JOIN run_details d ON d.run_id = r.id CROSS JOIN since s
WHERE r.worker_id IS NOT NULL AND r.claimed_at < s.at AND coalesce(d.progress_at < s.at, true)
  AND NOT EXISTS (SELECT FROM call_journal j WHERE j.lineage = coalesce(d.lineage, r.id) AND j.at >= s.at)
  AND NOT EXISTS (
      SELECT FROM checkpoint_heads h
      WHERE h.thread_key = r.thread_key AND h.ns = '' AND substr(h.checkpoint_id::text, 15, 1) = '6'
        AND (('x0' || substr(h.checkpoint_id::text, 1, 8) || substr(h.checkpoint_id::text, 10, 4)
              || substr(h.checkpoint_id::text, 16, 3))::bit(64)::bigint - 122192928000000000) / 1e7
            >= extract(epoch FROM s.at))
GROUP BY r.tenant, r.agent;

-- name: workers
SELECT 'workers_live', 'default', '', '', count(*) FILTER (
    WHERE state = 'live' AND heartbeat_at > clock_timestamp() - make_interval(secs => %(lease)s))::float8 FROM workers
UNION ALL
SELECT 'worker_deaths', 'default', '', '', count(*) FILTER (
    WHERE state = 'dead' AND ended_at > clock_timestamp() - make_interval(secs => %(window)s))::float8 FROM workers;

-- name: breakers
-- A model is asked with several keys; each has a breaker.
SELECT 'breakers_open', 'default', 'model', model, count(*) FILTER (WHERE openings > 0)::float8
FROM breakers GROUP BY model;

-- name: budgets
-- Of budgets that are spent beyond their soft limit in the present period, whoever has spent most of their share. Budgets of
-- single runs and threads are theirs to end at.
SELECT 'budget_used_ratio', c.tenant, 'budget', c.name, max(greatest(
    coalesce(c.spent_micros::float8 / nullif(c.limit_micros, 0), 0),
    coalesce(c.spent_tokens::float8 / nullif(c.limit_tokens, 0), 0)))
FROM budget_counters c
LEFT JOIN budgets b ON b.tenant = c.tenant AND b.name = c.name
LEFT JOIN unnest(%(names)s::text[], %(spans)s::text[]) AS s (name, span) ON s.name = c.name
WHERE c.soft_told AND c.per IN ('user', 'agent', 'tenant')
  AND c.period = CASE coalesce(b.span, s.span) WHEN 'total' THEN DATE 'epoch'
      ELSE date_trunc(coalesce(b.span, s.span), clock_timestamp() AT TIME ZONE %(zone)s)::date END
GROUP BY c.tenant, c.name;

-- name: signals
SELECT name, tenant, CASE name WHEN 'loop_failures' THEN 'loop' WHEN 'budget_stops' THEN 'budget' ELSE '' END, subject,
       sum(count)::float8
FROM alert_signals
WHERE minute > clock_timestamp() - make_interval(secs => %(window)s)
GROUP BY name, tenant, subject;

-- name: errors
-- Only of agents whose runs are enough to speak of a share.
SELECT 'error_ratio', tenant, 'agent', agent, count(*) FILTER (WHERE status = 'error')::float8 / count(*)
FROM run_observations
WHERE ended_at > clock_timestamp() - make_interval(secs => %(errors_window)s) AND status IN ('success', 'error')
GROUP BY tenant, agent
HAVING count(*) >= %(errors_runs)s;

-- name: spending
SELECT f.figure, o.tenant, 'agent', o.agent, f.value
FROM (
    SELECT tenant, agent, sum(cost_usd) AS cost, sum(tokens) AS tokens, count(*) AS runs FROM run_observations
    WHERE ended_at > clock_timestamp() - interval '1 hour' GROUP BY tenant, agent
) AS o CROSS JOIN LATERAL (VALUES
    ('cost_usd_hour', o.cost::float8), ('tokens_hour', o.tokens::float8), ('runs_hour', o.runs::float8)
) AS f (figure, value);

-- name: undelivered
SELECT 'notifications_failed', tenant, 'channel', channel, count(*)::float8
FROM notification_messages
WHERE state = 'failed' AND ended_at > clock_timestamp() - interval '1 hour'
GROUP BY tenant, channel;

-- name: effects
SELECT 'effects_unknown', tenant, '', '', count(*)::float8 FROM effects WHERE state = 'unknown' GROUP BY tenant;

-- name: anomalies
SELECT tenant, agent, model, kind, severity, text, value FROM anomalies WHERE ended_at IS NULL;
