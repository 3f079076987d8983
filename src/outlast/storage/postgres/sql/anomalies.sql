-- What is usual for agents, and what was found not to be.

-- name: alone
-- One process at a time judges; the others find it done.
SELECT pg_try_advisory_xact_lock(%(class_id)s, hashtext(current_schema()));

-- name: baselines
-- Of agents with all their models; the one that ran last comes last.
SELECT b.tenant, b.agent, b.model, b.state
FROM anomaly_baselines b
JOIN unnest(%(tenants)s::text[], %(agents)s::text[]) AS k (tenant, agent) ON b.tenant = k.tenant AND b.agent = k.agent
ORDER BY b.changed_at;

-- name: open
-- What is open is decided by these rows and not by what the judge remembers.
SELECT a.id, a.tenant, a.agent, a.model, a.kind, a.severity
FROM anomalies a
JOIN unnest(%(tenants)s::text[], %(agents)s::text[]) AS k (tenant, agent) ON a.tenant = k.tenant AND a.agent = k.agent
WHERE a.ended_at IS NULL;

-- name: learned
INSERT INTO anomaly_baselines (tenant, agent, model, state, runs)
SELECT k.tenant, k.agent, k.model, k.state::jsonb, k.runs
FROM unnest(%(tenants)s::text[], %(agents)s::text[], %(models)s::text[], %(states)s::text[], %(runs)s::bigint[])
     AS k (tenant, agent, model, state, runs)
ON CONFLICT (tenant, agent, model) DO UPDATE
SET state = excluded.state, runs = excluded.runs, changed_at = clock_timestamp();

-- name: found
INSERT INTO anomalies (id, tenant, agent, model, kind, run_id, severity, text, value, expected)
VALUES (%(id)s, %(tenant)s, %(agent)s, %(model)s, %(kind)s, %(run_id)s, %(severity)s, %(text)s, %(value)s, %(expected)s)
ON CONFLICT (tenant, agent, model, kind) WHERE ended_at IS NULL DO NOTHING;

-- name: seen_again
UPDATE anomalies SET seen_runs = seen_runs + %(runs)s WHERE id = %(id)s AND ended_at IS NULL;

-- name: grown
-- What one run had shown has become how the agent is.
UPDATE anomalies SET severity = %(severity)s, text = %(text)s, value = %(value)s, expected = %(expected)s
WHERE id = %(id)s AND ended_at IS NULL;

-- name: ended
UPDATE anomalies SET ended_at = clock_timestamp(), ended_as = %(ended_as)s WHERE id = %(id)s AND ended_at IS NULL;

-- name: silent
-- Of agents that do not run any more: nobody can say that they are as usual again.
UPDATE anomalies a SET ended_at = clock_timestamp(), ended_as = 'silent'
WHERE a.ended_at IS NULL AND a.found_at < clock_timestamp() - make_interval(secs => %(age)s)
  AND NOT EXISTS (
      SELECT FROM anomaly_baselines b
      WHERE b.tenant = a.tenant AND b.agent = a.agent AND b.model = a.model
        AND b.changed_at >= clock_timestamp() - make_interval(secs => %(age)s))
RETURNING a.id, a.tenant, a.agent, a.model, a.kind;

-- name: baselines_of
-- Of one agent, whatever its models: what is usual about its outputs.
SELECT model, state FROM anomaly_baselines WHERE agent = %(agent)s ORDER BY changed_at DESC LIMIT 20;

-- part: shown
SELECT id, agent, model, kind, run_id, found_at, ended_at, ended_as, severity, text, value, expected, seen_runs, tenant
FROM anomalies a

-- name: find
-- Newest first.
--include shown
WHERE true
--if agent
  AND a.agent = %(agent)s
--end
--if kind
  AND a.kind = %(kind)s
--end
--if open
  AND a.ended_at IS NULL
--end
--if since
  AND a.found_at >= %(since)s::timestamptz
--end
ORDER BY a.found_at DESC, a.id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count
SELECT count(*) FROM anomalies a
WHERE true
--if agent
  AND a.agent = %(agent)s
--end
--if kind
  AND a.kind = %(kind)s
--end
--if open
  AND a.ended_at IS NULL
--end
--if since
  AND a.found_at >= %(since)s::timestamptz
--end
;

-- name: get
--include shown
WHERE a.id = %(id)s;

-- name: runs_since
-- The runs of the agent with the model from a little before the finding to its end.
SELECT run_id, ended_at, status, error_class, output_length, confidence, tokens, cost_usd, seconds, tool_calls
FROM run_observations
WHERE agent = %(agent)s AND model = %(model)s AND ended_at <= coalesce(%(until)s::timestamptz, now())
  AND ended_at >= %(since)s::timestamptz - interval '1 hour'
ORDER BY ended_at DESC
LIMIT %(limit)s;

-- name: forget
DELETE FROM anomalies WHERE id = ANY(ARRAY(
    SELECT id FROM anomalies WHERE ended_at < now() - make_interval(secs => %(age)s) LIMIT %(limit)s
));

-- name: forget_baselines
-- Of agents and models that are gone.
DELETE FROM anomaly_baselines WHERE changed_at < now() - make_interval(secs => %(age)s);
