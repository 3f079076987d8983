-- What runs were like, in figures: one row for each end of a run.

-- name: add
-- Rows are of several tenants. One parameter for the whole batch: 25 arrays would take longer to adapt than this to parse.
-- A run that was erased meanwhile, or is of another database, leaves nothing; one that was told twice is there once.
INSERT INTO run_observations
    (tenant, agent, model, run_id, epoch, status, error_class, output_length, confidence, tokens, cost_usd, seconds,
     first_byte_seconds, queued_seconds, total_seconds, model_calls, tool_calls, tool_errors, retries, fallbacks, refused,
     empty, invalid, output_print, input_print, judged)
SELECT
    r.tenant, r.agent, o.model, r.id, coalesce(o.epoch, r.epoch), o.status, o.error_class, o.output_length, o.confidence, o.tokens,
    o.cost_usd, o.seconds, o.first_byte_seconds, o.queued_seconds, o.total_seconds, o.model_calls, o.tool_calls,
    o.tool_errors, o.retries, o.fallbacks, o.refused, o.empty, o.invalid, o.output_print, o.input_print, o.judged
FROM json_to_recordset(%(rows)s::json) AS o (
    model text, run_id uuid, epoch integer, status text, error_class text,
    output_length integer, confidence float8, tokens bigint, cost_usd float8, seconds float8,
    first_byte_seconds float8, queued_seconds float8, total_seconds float8, model_calls integer, tool_calls integer,
    tool_errors integer, retries integer, fallbacks integer, refused boolean, empty boolean, invalid boolean,
    output_print bigint, input_print bigint, judged boolean
)
JOIN runs r ON r.id = o.run_id
ON CONFLICT (run_id, epoch) DO NOTHING;

-- name: unjudged
-- In the order in which they were stored. Nobody else judges, see `alone`; but an erasure may be at the same rows.
SELECT id, tenant, agent, model, run_id, ended_at, status, error_class, output_length, confidence, tokens, cost_usd,
       seconds, tool_calls, tool_errors, refused, empty, invalid, output_print, input_print
FROM run_observations
WHERE NOT judged
ORDER BY id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED;

-- name: judged
-- What a run said and was asked is forgotten as soon as it was compared.
UPDATE run_observations SET judged = true, output_print = NULL, input_print = NULL WHERE id = ANY(%(ids)s::bigint[]);

-- name: forget
DELETE FROM run_observations WHERE id = ANY(ARRAY(
    SELECT id FROM run_observations WHERE ended_at < now() - make_interval(secs => %(age)s) ORDER BY ended_at LIMIT %(limit)s
));
