-- Writes to the outside. Every write here belongs to a run and is accepted from its owner only.

-- part: fence
-- FOR SHARE: whoever raises the epoch waits for this statement, or this one sees the raised epoch.
WITH fence AS MATERIALIZED (
    SELECT id FROM runs
    WHERE id = %(run_id)s AND epoch = %(epoch)s AND status = 'running'
    FOR SHARE
)

-- part: columns
e.key, e.lineage, e.task, e.name, e.ordinal, e.args_hash, e.arguments, e.state, e.doubtful, e.body, e.error, e.calls, e.run_id,
e.epoch, e.errors, e.execution, e.answer, e.begun_at, e.ended_at,
coalesce(e.key_expires_at <= clock_timestamp(), false) AS expired

-- name: of_task
-- In the order in which they were begun.
SELECT
--include columns
FROM effects e
WHERE e.lineage = %(lineage)s AND e.task = %(task)s
ORDER BY e.begun_at, e.key;

-- name: of_key
SELECT
--include columns
FROM effects e
WHERE e.key = %(key)s;

-- name: questions_of_task
-- Those about effects, and those about budgets among them: see `budgets.sql`.
SELECT key, calls, budget, subject, unit, limit_at, spent_at, resets_at FROM effect_questions
WHERE lineage = %(lineage)s AND task = %(task)s
ORDER BY position;

-- name: intend
-- Before each call. A row that is there already may be called again only as it was read (`calls`), and while its key is
-- known to the receiver, unless it is certain that nothing was applied; or it is this very statement, sent again because
-- the answer was lost. No row: the run is lost, or somebody else has moved the row; see `of_key`.
--include fence
INSERT INTO effects AS e (
    key, lineage, task, name, ordinal, business_key, tenant, agent, thread_key, args_hash, arguments, state, doubtful,
    calls, run_id, epoch, errors, execution, key_expires_at
)
SELECT %(key)s, %(lineage)s, %(task)s, %(name)s, %(ordinal)s, %(business_key)s, %(tenant)s, %(agent)s, %(thread_key)s,
       %(args_hash)s, %(arguments)s, 'intent', false, %(calls)s, fence.id, %(epoch)s, %(errors)s, %(execution)s,
       clock_timestamp() + make_interval(secs => %(key_ttl)s)
FROM fence
ON CONFLICT (key) DO UPDATE SET
    state = 'intent',
    doubtful = e.doubtful OR e.state = 'unknown',
    calls = EXCLUDED.calls, run_id = EXCLUDED.run_id, epoch = EXCLUDED.epoch, errors = EXCLUDED.errors,
    execution = EXCLUDED.execution, body = NULL, ended_at = NULL,
    -- What was certainly not applied may be tried with other arguments.
    args_hash = EXCLUDED.args_hash, arguments = EXCLUDED.arguments
WHERE (e.calls = EXCLUDED.calls - 1 AND (
          e.state = 'failed'
          OR (e.state = 'unknown' AND coalesce(e.key_expires_at > clock_timestamp(), true))))
   OR (e.calls = EXCLUDED.calls AND e.state = 'intent' AND e.run_id = EXCLUDED.run_id AND e.epoch = EXCLUDED.epoch)
RETURNING
--include columns
;

-- name: record
-- What the call that this attempt announced ended with. Safe to send again. No row: the run is lost.
--include fence
UPDATE effects e
SET state = %(state)s, body = %(body)s, error = %(error)s,
    doubtful = CASE WHEN %(state)s = 'unknown' THEN e.doubtful ELSE false END,
    ended_at = CASE WHEN %(state)s <> 'unknown' THEN clock_timestamp() END
FROM fence
WHERE e.key = %(key)s AND e.run_id = fence.id AND e.epoch = %(epoch)s AND e.calls = %(calls)s
  AND e.state IN ('intent', %(state)s)
RETURNING
--include columns
;

-- name: resolve
-- What was found out later about an outcome that nobody knew: by a person (`answer`), by asking the receiver, or only that
-- its owner is gone (`unknown`). The row must still be as it was read.
--include fence
UPDATE effects e
SET state = %(state)s,
    body = CASE WHEN %(state)s = 'unknown' THEN e.body ELSE %(body)s END,
    doubtful = CASE WHEN %(state)s = 'unknown' THEN e.doubtful ELSE false END,
    answer = coalesce(%(answer)s, e.answer),
    answered_at = CASE WHEN %(answer)s::bytea IS NULL THEN e.answered_at ELSE clock_timestamp() END,
    run_id = fence.id, epoch = %(epoch)s, errors = %(errors)s, execution = %(execution)s,
    ended_at = CASE WHEN %(state)s <> 'unknown' THEN clock_timestamp() END
FROM fence
WHERE e.key = %(key)s AND e.calls = %(calls)s
  AND (e.state IN ('intent', 'unknown') OR (e.state = %(state)s AND e.run_id = fence.id AND e.epoch = %(epoch)s))
RETURNING
--include columns
;

-- name: ask
-- Written down before the question is asked; the same place for the same key if it is sent again. That a person has
-- replayed the run, and so wants to be asked anew, is dealt with by that.
--include fence
, asked_anew AS (
    UPDATE effects e SET errors = %(errors)s FROM fence WHERE e.key = %(key)s AND e.errors = -1
)
INSERT INTO effect_questions AS q (lineage, task, position, key, calls, thread_key)
SELECT %(lineage)s, %(task)s, %(position)s, %(key)s, %(calls)s, %(thread_key)s FROM fence
ON CONFLICT (lineage, task, position) DO UPDATE SET key = EXCLUDED.key WHERE q.key = EXCLUDED.key
RETURNING q.position;

-- name: is_owner
SELECT FROM runs WHERE id = %(run_id)s AND epoch = %(epoch)s AND status = 'running';

-- part: shown
SELECT e.key, e.name, e.state, e.agent, t.thread_id, e.run_id, e.lineage, r.status, e.business_key, e.arguments, e.error,
       e.calls, e.answer, e.answered_at, e.begun_at, e.ended_at, e.key_expires_at,
       e.state = 'unknown' OR (e.state = 'intent' AND (r.status IS DISTINCT FROM 'running' OR r.epoch <> e.epoch))
           AS is_unknown
FROM effects e
LEFT JOIN threads t ON t.key = e.thread_key
LEFT JOIN runs r ON r.id = e.run_id

-- name: find
-- Newest first. An intent whose owner is gone is unknown, though nobody has come to write that down.
SELECT * FROM (
--include shown
    WHERE (%(name)s::text IS NULL OR e.name = %(name)s)
      AND (%(run_id)s::uuid IS NULL OR e.run_id = %(run_id)s OR e.lineage = %(run_id)s)
      AND (%(state)s::text IS NULL OR e.state = %(state)s OR (%(state)s = 'unknown' AND e.state = 'intent'))
) AS found
WHERE %(state)s::text IS NULL OR (CASE WHEN is_unknown THEN 'unknown' ELSE state END) = %(state)s
ORDER BY begun_at DESC
LIMIT %(limit)s;

-- name: show
-- By the beginning of its key; two rows say that it is not enough of it.
--include shown
WHERE e.key LIKE %(beginning)s
ORDER BY e.begun_at DESC
LIMIT 2;
