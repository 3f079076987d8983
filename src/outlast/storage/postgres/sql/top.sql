-- What `outlast top` shows, once a second: so each statement reads an index of what is open or of the last minute. What
-- there is to do, who works and what is left alone is read by the statements of metrics, workers and breakers.

-- name: ended
-- How runs ended in each second of the last minute.
SELECT floor(extract(epoch FROM n.at - r.ended_at))::int, count(*) FILTER (WHERE r.status IN ('succeeded', 'interrupted')),
       count(*) FILTER (WHERE r.status = 'failed'), count(*) FILTER (WHERE r.status = 'cancelled')
FROM runs r, (SELECT clock_timestamp() AS at) n
WHERE r.ended_at > clock_timestamp() - interval '1 minute' AND r.ended_at <= n.at
GROUP BY 1;

-- name: running
SELECT agent, count(*) FROM runs WHERE worker_id IS NOT NULL GROUP BY agent;

-- name: calls
-- Of models, in the last minute.
SELECT count(*) FILTER (WHERE outcome <> 'failed'), count(*) FILTER (WHERE outcome = 'failed'),
       count(*) FILTER (WHERE outcome = 'cache'), coalesce(sum(input_tokens), 0)::bigint,
       coalesce(sum(output_tokens), 0)::bigint, coalesce(sum(cost_micros), 0)::bigint
FROM call_usage WHERE at > clock_timestamp() - interval '1 minute';

-- name: alerts
-- The worst first; how many there are is on each row.
SELECT count(*) OVER (), severity, rule, subject, text, extract(epoch FROM clock_timestamp() - fired_at)::float8
FROM alerts WHERE state = 'firing'
ORDER BY array_position(ARRAY['critical', 'error', 'warning', 'info'], severity), fired_at
LIMIT 5;

-- name: anomalies
SELECT count(*) OVER (), severity, kind, agent, text, extract(epoch FROM clock_timestamp() - found_at)::float8
FROM anomalies WHERE ended_at IS NULL
ORDER BY array_position(ARRAY['critical', 'error', 'warning', 'info'], severity), found_at
LIMIT 5;

-- name: agents
-- Of five minutes, so it is read less often. NULL: all of them together.
SELECT agent, count(*), count(*) FILTER (WHERE status = 'error'),
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY first_byte_seconds), sum(tokens)::bigint, sum(cost_usd),
       sum(tool_calls)::bigint, sum(tool_errors)::bigint
FROM run_observations WHERE ended_at > clock_timestamp() - interval '5 minutes'
GROUP BY GROUPING SETS ((agent), ())
HAVING count(*) > 0
ORDER BY agent IS NOT NULL, count(*) DESC, agent
LIMIT 16;
