-- Statements of the call log: answers of model calls, journaled values, and what calls cost.

-- name: commit_calls
-- The group commit of the call log: what gathered while the last batch was on its way, in one statement. Rows of different
-- runs are independent: what is refused is missing from the answer and fails nobody else.
-- `fence` locks the runs' rows until commit: a reaper that raises an epoch waits for this statement, or this statement
-- sees the raised epoch. An answer that is stored again at its place replaces the one before: the one before was not
-- believed. What it cost has the call's own id, so a batch that is sent again changes nothing.
-- `spent`: some row has usage; most values that are journaled have none.
WITH fence AS MATERIALIZED (
    SELECT r.id, r.epoch
    FROM runs r
    JOIN unnest(%(fence_run)b, %(fence_epoch)b) AS f (id, epoch) ON r.id = f.id AND r.epoch = f.epoch
    WHERE r.status = 'running'
    ORDER BY r.id
    FOR NO KEY UPDATE OF r
),
admitted AS MATERIALIZED (
    SELECT c.*
    FROM unnest(
        %(c_n)b, %(c_run)b, %(c_epoch)b, %(c_errors)b, %(c_lineage)b, %(c_task)b, %(c_series)b, %(c_ordinal)b, %(c_hash)b,
        %(c_execution)b, %(c_body)b
--if spent
        , %(c_call)b, %(c_thread)b, %(c_tenant)b, %(c_user)b, %(c_agent)b
--end
    ) AS c (n, run_id, epoch, errors, lineage, task, series, ordinal, hash, execution, body
--if spent
            , call_id, thread_key, tenant, user_id, agent
--end
    )
    JOIN fence f ON f.id = c.run_id AND f.epoch = c.epoch
),
kept AS (
    INSERT INTO call_journal
        (lineage, task, series, ordinal, hash, run_id, epoch, errors, execution, body)
    SELECT lineage, task, series, ordinal, hash, run_id, epoch, errors, execution, body
    FROM admitted
    WHERE task IS NOT NULL
    ORDER BY n
    ON CONFLICT (lineage, task, series, ordinal, hash) DO UPDATE
        SET run_id = EXCLUDED.run_id, epoch = EXCLUDED.epoch, errors = EXCLUDED.errors, execution = EXCLUDED.execution,
            seq = EXCLUDED.seq, body = EXCLUDED.body, at = EXCLUDED.at
)
--if spent
, spent AS (
    INSERT INTO call_usage
        (call_id, try, run_id, lineage, thread_key, tenant, user_id, agent, provider, model, input_tokens, output_tokens,
         cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_micros, saved_micros, outcome, seconds)
    SELECT a.call_id, u.try, a.run_id, a.lineage, a.thread_key, a.tenant, a.user_id, a.agent, u.provider, u.model,
           u.input_tokens, u.output_tokens, u.cache_read_tokens, u.cache_write_tokens, u.reasoning_tokens, u.cost_micros,
           u.saved_micros, u.outcome, u.seconds
    FROM unnest(
        %(u_n)b, %(u_try)b, %(u_provider)b, %(u_model)b, %(u_input)b, %(u_output)b, %(u_cache_read)b, %(u_cache_write)b,
        %(u_reasoning)b, %(u_cost)b, %(u_saved)b, %(u_outcome)b, %(u_seconds)b
    ) AS u (n, try, provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
            cost_micros, saved_micros, outcome, seconds)
    JOIN admitted a USING (n)
    ON CONFLICT (call_id, try) DO NOTHING
)
--end
SELECT n FROM admitted;

-- name: entries
-- What a task has in the journal, in the order of insertion. `tried`: the attempt that made it ended in an error, or the
-- run was failed and replayed since; a run that is gone cannot say so. `acted_on`: the task began an effect afterwards, and
-- another answer might lead to other arguments for what is applied already.
SELECT j.series, j.ordinal, j.hash, j.body, coalesce(r.errors <> j.errors, false) AS tried,
       EXISTS (
           SELECT FROM effects e
           WHERE e.lineage = j.lineage AND e.task = j.task AND e.begun_at > j.at AND (e.state <> 'failed' OR e.doubtful)
       ) AS acted_on
FROM call_journal j
LEFT JOIN runs r ON r.id = j.run_id
WHERE j.lineage = %(lineage)s AND j.task = %(task)s
ORDER BY j.seq;

-- name: forget_of_runs
-- Of runs that succeeded: nothing of them is executed again. `lineage` is the run's own id or that of the run whose question
-- it answered.
DELETE FROM call_journal j
USING runs r JOIN run_details d ON d.run_id = r.id
WHERE r.id = ANY(%(ids)s::uuid[]) AND r.status = 'succeeded' AND j.lineage = coalesce(d.lineage, r.id);

-- name: forget_old
-- Of all others, by age; a run that has still to run, or waits for a person, keeps what it knows.
WITH old AS (
    SELECT lineage, task, series, ordinal, hash FROM call_journal j
    WHERE at < now() - make_interval(secs => %(age)s)
      AND NOT EXISTS (SELECT FROM runs r WHERE r.id IN (j.lineage, j.run_id) AND r.ended_at IS NULL)
    ORDER BY at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM call_journal j USING old o
WHERE j.lineage = o.lineage AND j.task = o.task AND j.series = o.series AND j.ordinal = o.ordinal AND j.hash = o.hash;
