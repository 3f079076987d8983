-- What model calls cost: single tries in `call_usage`, older ones by day in `usage_days`.

-- part: counted
-- What a try adds to each figure. Tokens of an answer out of the cache were paid for by another call.
    count(*) FILTER (WHERE outcome <> 'failed') AS calls,
    count(*) FILTER (WHERE outcome = 'cache') AS cached,
    count(*) FILTER (WHERE outcome = 'failed') AS failed,
    count(*) FILTER (WHERE cost_micros IS NULL) AS unpriced,
    coalesce(sum(input_tokens) FILTER (WHERE outcome <> 'cache'), 0)::bigint AS input_tokens,
    coalesce(sum(output_tokens) FILTER (WHERE outcome <> 'cache'), 0)::bigint AS output_tokens,
    coalesce(sum(cache_read_tokens) FILTER (WHERE outcome <> 'cache'), 0)::bigint AS cache_read_tokens,
    coalesce(sum(cache_write_tokens) FILTER (WHERE outcome <> 'cache'), 0)::bigint AS cache_write_tokens,
    coalesce(sum(reasoning_tokens) FILTER (WHERE outcome <> 'cache'), 0)::bigint AS reasoning_tokens,
    coalesce(sum(cost_micros) FILTER (WHERE outcome <> 'cache'), 0)::bigint AS cost_micros,
    coalesce(sum(saved_micros) FILTER (WHERE outcome = 'cache'), 0)::bigint AS saved_micros

-- part: filters
-- What single tries and days are filtered by.
--if user
      AND u.user_id = %(user)s
--end
--if agent
      AND u.agent = %(agent)s
--end
--if model
      AND u.model = %(model)s
--end
--if provider
      AND u.provider = %(provider)s
--end

-- name: summary
-- Both tables in one statement, which sees each try in one of them and never in both. What it is not grouped by is NULL
-- before it is counted, so that single tries shrink to a few rows first. A filter that a day cannot answer (its run, its
-- thread, who may see it) leaves the days out.
WITH tries AS (
    SELECT CASE WHEN 'day' = ANY(%(by)s::text[]) THEN (u.at AT TIME ZONE 'UTC')::date END AS day,
           CASE WHEN 'tenant' = ANY(%(by)s::text[]) THEN u.tenant END AS tenant,
           CASE WHEN 'user' = ANY(%(by)s::text[]) THEN u.user_id END AS user_id,
           CASE WHEN 'agent' = ANY(%(by)s::text[]) THEN u.agent END AS agent,
           CASE WHEN 'provider' = ANY(%(by)s::text[]) THEN u.provider END AS provider,
           CASE WHEN 'model' = ANY(%(by)s::text[]) THEN u.model END AS model,
           CASE WHEN 'run' = ANY(%(by)s::text[]) THEN u.run_id END AS run_id,
           CASE WHEN 'thread' = ANY(%(by)s::text[]) THEN u.thread_key END AS thread_key,
--include counted
    FROM call_usage u
--if owned
    JOIN thread_details d ON d.thread_key = u.thread_key
--end
    WHERE true
--if after
      AND u.at >= %(after)s::timestamptz
--end
--if before
      AND u.at < %(before)s::timestamptz
--end
--if run
      AND u.run_id = %(run)s::uuid
--end
--if thread
      AND u.thread_key = %(thread)s::uuid
--end
--if access
      AND d.metadata @@ %(access)s::jsonpath
--end
--if metadata
      AND d.metadata @> %(metadata)s::jsonb
--end
--include filters
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), days AS (
    SELECT CASE WHEN 'day' = ANY(%(by)s::text[]) THEN u.day END AS day,
           CASE WHEN 'tenant' = ANY(%(by)s::text[]) THEN u.tenant END AS tenant,
           CASE WHEN 'user' = ANY(%(by)s::text[]) THEN u.user_id END AS user_id,
           CASE WHEN 'agent' = ANY(%(by)s::text[]) THEN u.agent END AS agent,
           CASE WHEN 'provider' = ANY(%(by)s::text[]) THEN u.provider END AS provider,
           CASE WHEN 'model' = ANY(%(by)s::text[]) THEN u.model END AS model,
           NULL::uuid AS run_id, NULL::uuid AS thread_key,
           u.calls, u.cached, u.failed, u.unpriced, u.input_tokens, u.output_tokens, u.cache_read_tokens,
           u.cache_write_tokens, u.reasoning_tokens, u.cost_micros, u.saved_micros
    FROM usage_days u
    WHERE true
--if after
      AND u.day >= (%(after)s::timestamptz AT TIME ZONE 'UTC')
--end
--if before
      AND u.day < (%(before)s::timestamptz AT TIME ZONE 'UTC')
--end
--if not whole
      AND false
--end
--include filters
), summed AS (
    SELECT b.day, b.tenant, b.user_id, b.agent, b.provider, b.model, b.run_id, b.thread_key,
           sum(b.calls)::bigint AS calls, sum(b.cached)::bigint AS cached, sum(b.failed)::bigint AS failed,
           sum(b.unpriced)::bigint AS unpriced, sum(b.input_tokens)::bigint AS input_tokens,
           sum(b.output_tokens)::bigint AS output_tokens, sum(b.cache_read_tokens)::bigint AS cache_read_tokens,
           sum(b.cache_write_tokens)::bigint AS cache_write_tokens,
           sum(b.reasoning_tokens)::bigint AS reasoning_tokens, sum(b.cost_micros)::bigint AS cost_micros,
           sum(b.saved_micros)::bigint AS saved_micros
    FROM (SELECT * FROM tries UNION ALL SELECT * FROM days) b
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY day DESC NULLS LAST, cost_micros DESC, calls DESC, tenant, user_id, agent, provider, model, run_id,
             thread_key
    LIMIT %(limit)s
)
SELECT s.day, s.tenant, s.user_id, s.agent, s.provider, s.model, s.run_id, t.thread_id, s.calls, s.cached, s.failed,
       s.unpriced, s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens, s.reasoning_tokens,
       s.cost_micros, s.saved_micros
FROM summed s
LEFT JOIN threads t ON t.key = s.thread_key
ORDER BY s.day DESC NULLS LAST, s.cost_micros DESC, s.calls DESC, s.tenant, s.user_id, s.agent, s.provider, s.model,
         s.run_id, s.thread_key;

-- name: spent_by
-- What a run has used in its earlier attempts, for its caps: calls that were begun, tokens and micro dollars.
SELECT count(DISTINCT call_id),
       coalesce(sum(input_tokens + output_tokens) FILTER (WHERE outcome <> 'cache'), 0)::bigint,
       coalesce(sum(cost_micros) FILTER (WHERE outcome <> 'cache'), 0)::bigint
FROM call_usage WHERE run_id = %(run_id)s;

-- part: into_days
    INSERT INTO usage_days AS d (
        day, tenant, user_id, agent, provider, model, calls, cached, failed, unpriced, input_tokens, output_tokens,
        cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_micros, saved_micros
    )

-- part: added_up
    ON CONFLICT (day, tenant, coalesce(user_id, ''), agent, provider, model) DO UPDATE SET
        calls = d.calls + excluded.calls,
        cached = d.cached + excluded.cached,
        failed = d.failed + excluded.failed,
        unpriced = d.unpriced + excluded.unpriced,
        input_tokens = d.input_tokens + excluded.input_tokens,
        output_tokens = d.output_tokens + excluded.output_tokens,
        cache_read_tokens = d.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens,
        reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens,
        cost_micros = d.cost_micros + excluded.cost_micros,
        saved_micros = d.saved_micros + excluded.saved_micros

-- name: fold
-- The oldest tries become part of their days, in the same statement that deletes them.
WITH old AS (
    SELECT call_id, try FROM call_usage WHERE at < %(before)s ORDER BY at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), u AS (
    DELETE FROM call_usage c USING old o WHERE c.call_id = o.call_id AND c.try = o.try RETURNING c.*
), folded AS (
--include into_days
    SELECT (u.at AT TIME ZONE 'UTC')::date, u.tenant, nullif(u.user_id, ''), u.agent, u.provider, u.model,
--include counted
    FROM u
    GROUP BY 1, 2, 3, 4, 5, 6
--include added_up
)
SELECT FROM u;

-- name: fold_user
-- What somebody used becomes what nobody in particular used, in the same statement: sums stay what they were.
WITH gone AS (
    DELETE FROM usage_days WHERE tenant = %(tenant)s AND user_id = %(user)s RETURNING *
), folded AS (
--include into_days
    SELECT day, tenant, NULL, agent, provider, model, calls, cached, failed, unpriced, input_tokens, output_tokens,
           cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_micros, saved_micros
    FROM gone
--include added_up
)
SELECT count(*) FROM gone;
