-- Ending a run, by its owner or by somebody else. The thread's row is locked first, then runs, then the heads of its
-- checkpoints. Every statement that ends a run also writes the report that its webhook gets. A NULL `access` is no filter.

-- name: lock_thread
SELECT key FROM threads WHERE key = %(thread_key)s FOR UPDATE;

-- name: settle
-- Accepted only from the owner. A status of its own epoch that is already there is the same settlement, whose
-- answer was lost. A run that was cancelled while it ran ends now, whatever it would wait for: nobody would ask again. One
-- that is to be rolled back is not settled at all.
WITH settled AS (
    UPDATE runs
    SET status = CASE WHEN cancel_requested_at IS NOT NULL AND %(status)s IN ('queued', 'waiting') THEN 'cancelled'
                      ELSE %(status)s END,
        worker_id = NULL,
        errors = errors + %(errors)s,
        available_at = clock_timestamp() + make_interval(secs => %(delay)s),
        ended_at = CASE WHEN cancel_requested_at IS NOT NULL
                          OR %(status)s IN ('succeeded', 'failed', 'cancelled', 'interrupted')
                        THEN clock_timestamp() END
    WHERE id = %(id)s AND epoch = %(epoch)s AND status = 'running' AND cancel_action IS DISTINCT FROM 'rollback'
    RETURNING id, status, epoch, thread_key, agent
), details AS (
    UPDATE run_details d
    SET output = coalesce(%(output)s, d.output),
        -- Kept with the answer until the answer is dealt with.
        interrupts = CASE WHEN settled.status IN ('waiting', 'interrupted') THEN %(interrupts)s::jsonb
                          WHEN settled.status = 'queued' THEN d.interrupts END,
        waiting_at = CASE WHEN settled.status IN ('waiting', 'interrupted') THEN %(waiting_at)s
                          WHEN settled.status = 'queued' THEN d.waiting_at END,
        -- An answer was given to one question; it must not be taken for the answer to the next.
        answer = CASE WHEN settled.status = 'queued' THEN d.answer END,
        error_code = %(error_code)s,
        error_message = %(error_message)s,
        last_pos = coalesce(%(last_pos)s, d.last_pos)
    FROM settled
    WHERE d.run_id = settled.id
    RETURNING d.run_id, d.assistant_id, d.temporary, d.webhook
), report AS (
    INSERT INTO webhook_deliveries (run_id, epoch, url)
    SELECT s.id, s.epoch, d.webhook FROM settled s JOIN details d ON d.run_id = s.id
    WHERE d.webhook IS NOT NULL AND s.status NOT IN ('queued', 'waiting')
    ON CONFLICT DO NOTHING
), mark AS (
    INSERT INTO thread_details AS t (thread_key, state, values, interrupts, waiting_at, stands_at, error, last_pos, metadata,
                                     temporary, expires_at)
    SELECT s.thread_key, %(thread_state)s, %(thread_values)s::jsonb, coalesce(%(questions)s::jsonb, '{}'),
           %(thread_waiting_at)s, %(stands_at)s, %(thread_error)s::jsonb, coalesce(%(thread_pos)s, 0),
           jsonb_strip_nulls(jsonb_build_object('graph_id', s.agent, 'assistant_id', d.assistant_id)),
           d.temporary, CASE WHEN d.temporary THEN clock_timestamp() + make_interval(secs => %(grace)s) END
    FROM settled s JOIN details d ON d.run_id = s.id
    WHERE %(thread_state)s::text IS NOT NULL AND s.status <> 'queued'
    ON CONFLICT (thread_key) DO UPDATE SET
        state = EXCLUDED.state, values = EXCLUDED.values, stands_at = EXCLUDED.stands_at,
        -- Left alone, a question is open for as long as the thread stands where it was asked.
        interrupts = coalesce(%(questions)s::jsonb, t.interrupts),
        waiting_at = CASE WHEN %(questions)s::jsonb IS NULL THEN t.waiting_at ELSE EXCLUDED.waiting_at END,
        error = EXCLUDED.error, last_pos = greatest(t.last_pos, EXCLUDED.last_pos),
        metadata = EXCLUDED.metadata || t.metadata,
        expires_at = coalesce(
            EXCLUDED.expires_at, clock_timestamp() + make_interval(secs => 60 * t.ttl_minutes), t.expires_at),
        updated_at = clock_timestamp(), state_updated_at = clock_timestamp()
)
SELECT status FROM settled;

-- name: failed_attempt
-- The error of an attempt that its owner is about to settle, in the same transaction. Locked, so that nobody takes the run
-- between this statement and that one.
WITH owned AS (
    SELECT id, epoch, worker_id, claimed_at FROM runs
    WHERE id = %(id)s AND epoch = %(epoch)s AND status = 'running'
    FOR UPDATE
)
INSERT INTO run_attempts (run_id, epoch, kind, error_code, error_message, worker_id, began_at)
SELECT id, epoch, 'error', %(error_code)s, %(attempt_message)s, worker_id, claimed_at FROM owned
ON CONFLICT DO NOTHING;

-- name: tell_settled
-- That an attempt ended without an end of its run, after the statement that settled it and in its transaction.
INSERT INTO run_history (run_id, epoch, event)
SELECT id, epoch, %(event)s FROM runs WHERE id = %(id)s AND epoch = %(epoch)s AND status = %(status)s
ON CONFLICT DO NOTHING;

-- name: is_settled
SELECT status FROM runs
WHERE id = %(id)s AND epoch = %(epoch)s
  AND (status = %(status)s OR status = 'cancelled' AND %(status)s IN ('queued', 'waiting'));

-- part: asking_first
-- A run that waits for a yes before it begins is a question like any other; its id is the run's.
INSERT INTO questions (id, run_id, thread_key, agent, epoch, interrupt_id, kind, hash, allowed, requester, assignee,
                       needs, not_requester, due_at, look_at, default_decision)
SELECT a.id, a.id, a.thread_key, a.agent, a.epoch, replace(a.id::text, '-', ''), 'approval',
       coalesce(a.terms ->> 'hash', encode(sha256(convert_to(a.id::text, 'UTF8')), 'hex')), '{approve,reject}',
       coalesce(a.user_id, 'key:' || a.key_id), a.terms ->> 'assign_to',
       coalesce((a.terms ->> 'needs')::smallint, 1::smallint), coalesce((a.terms ->> 'not_requester')::boolean, false),
       a.due_at, a.due_at, a.terms ->> 'default'
FROM (
    SELECT u.id, u.thread_key, u.agent, u.epoch, d.approval -> 'terms' AS terms, d.user_id, d.key_id,
           clock_timestamp() + make_interval(secs => (d.approval #>> '{terms,deadline_seconds}')::float8) AS due_at

-- part: asked_first
    JOIN run_details d ON d.run_id = u.id
    WHERE u.status = 'waiting' AND NOT d.approval ? 'approved'
) AS a
ON CONFLICT DO NOTHING
RETURNING id, tenant, agent

-- part: telling_first
-- In the same statement somebody is told of what was `asked` so.
told AS (
    INSERT INTO notifications (tenant, key, event, run_id, question_id, agent, kind)
    SELECT tenant, 'asked:' || id, 'asked', id, id, agent, 'approval' FROM asked
    ON CONFLICT DO NOTHING
)

-- name: ask_first
-- A new run whose turn it is at once.
WITH asked AS (
--include asking_first
    FROM (SELECT * FROM runs WHERE id = %(id)s) AS u
--include asked_first
),
--include telling_first
SELECT id FROM asked;

-- name: unblock
-- Safe to run at any time: it does nothing while the thread has a front. Who is due goes before who is due later. One that a
-- person has to say yes to waits for that as soon as its turn has come.
WITH unblocked AS (
    UPDATE runs
    SET status = CASE WHEN EXISTS (
            SELECT FROM run_details d WHERE d.run_id = runs.id AND NOT d.approval ? 'approved'
        ) THEN 'waiting' ELSE 'queued' END,
        available_at = greatest(available_at, clock_timestamp())
    WHERE id = (
        SELECT id FROM runs
        WHERE thread_key = %(thread_key)s AND status = 'blocked'
        ORDER BY available_at > clock_timestamp(), priority DESC, created_at, id
        LIMIT 1
    ) AND NOT EXISTS (
        SELECT FROM runs WHERE thread_key = %(thread_key)s AND status IN ('queued', 'running', 'waiting')
    )
    RETURNING id, thread_key, agent, epoch, status
), asked AS (
--include asking_first
    FROM unblocked u
--include asked_first
),
--include telling_first
SELECT id FROM unblocked;

-- name: thread_of
SELECT r.thread_key
FROM runs r
LEFT JOIN thread_details d ON d.thread_key = r.thread_key
WHERE r.id = %(id)s
  AND (%(access)s::jsonpath IS NULL OR coalesce(d.metadata, '{}') @@ %(access)s::jsonpath);

-- name: cancellable
-- In the order of threads, so that two that cancel many at once do not wait for each other in a circle. Two look-ups in
-- two small indexes; what has ended is not read.
SELECT r.id
FROM (
    SELECT id, thread_key, status FROM runs WHERE status IN ('queued', 'running', 'waiting')
    UNION ALL
    SELECT id, thread_key, status FROM runs WHERE status = 'blocked'
) AS r
LEFT JOIN thread_details d ON d.thread_key = r.thread_key
WHERE (%(thread_key)s::uuid IS NULL OR r.thread_key = %(thread_key)s)
  AND r.status = ANY(%(statuses)s)
  AND (%(access)s::jsonpath IS NULL OR coalesce(d.metadata, '{}') @@ %(access)s::jsonpath)
ORDER BY r.thread_key, r.id;

-- name: cancellable_among
SELECT r.id
FROM runs r
LEFT JOIN thread_details d ON d.thread_key = r.thread_key
WHERE r.id = ANY(%(ids)s)
  AND (%(thread_key)s::uuid IS NULL OR r.thread_key = %(thread_key)s)
  AND r.status = ANY(%(statuses)s)
  AND (%(access)s::jsonpath IS NULL OR coalesce(d.metadata, '{}') @@ %(access)s::jsonpath)
ORDER BY r.thread_key, r.id;

-- name: request_cancel
-- What does not run is cancelled here and now; what runs is asked to stop, and its owner records the end. Rolling back goes
-- further than interrupting, so the later wish counts where it is that.
WITH cancelled AS (
    UPDATE runs
    SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
        cancel_action = CASE WHEN cancel_action = 'rollback' THEN cancel_action ELSE %(action)s END,
        status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END,
        ended_at = CASE WHEN status = 'running' THEN NULL ELSE clock_timestamp() END
    WHERE id = %(id)s AND status IN ('blocked', 'queued', 'running', 'waiting')
    RETURNING id, status, epoch, cancel_action
), details AS (
    UPDATE run_details d SET cancel_reason = coalesce(d.cancel_reason, %(reason)s)
    FROM cancelled WHERE d.run_id = cancelled.id
    RETURNING d.run_id, d.webhook
), report AS (
    INSERT INTO webhook_deliveries (run_id, epoch, url)
    SELECT c.id, c.epoch, d.webhook FROM cancelled c JOIN details d ON d.run_id = c.id
    WHERE d.webhook IS NOT NULL AND c.status = 'cancelled'
    ON CONFLICT DO NOTHING
)
SELECT status, epoch, cancel_action FROM cancelled;

-- name: status_of
SELECT status FROM runs WHERE id = %(id)s;

-- name: take_away
-- End a run against its owner's will or without one.
WITH taken AS (
    UPDATE runs
    SET status = %(status)s, epoch = epoch + 1, worker_id = NULL, ended_at = clock_timestamp()
    WHERE id = %(id)s AND epoch = %(epoch)s AND status IN ('queued', 'running')
    RETURNING id, epoch, cancel_action, agent
), details AS (
    UPDATE run_details d SET error_code = %(error_code)s, error_message = %(error_message)s
    FROM taken WHERE d.run_id = taken.id
    RETURNING d.run_id, d.webhook
), report AS (
    INSERT INTO webhook_deliveries (run_id, epoch, url)
    SELECT t.id, t.epoch, d.webhook FROM taken t JOIN details d ON d.run_id = t.id
    WHERE d.webhook IS NOT NULL
    ON CONFLICT DO NOTHING
), attempt AS (
    -- Of an owner. `r` is the row as it was before this statement; a run that waited in the queue was not being attempted.
    INSERT INTO run_attempts (run_id, epoch, kind, error_code, error_message, worker_id, began_at, tenant)
    SELECT r.id, r.epoch, 'taken', %(error_code)s, %(attempt_message)s, r.worker_id, r.claimed_at, r.tenant
    FROM taken t JOIN runs r ON r.id = t.id
    WHERE r.status = 'running' AND %(error_code)s::text IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT epoch, cancel_action, agent FROM taken;

-- name: mark_ended
-- What a run leaves of its thread that was ended by somebody else than its owner: nobody knows the values. A run that was
-- never claimed changes nothing but the time at which a temporary thread goes.
INSERT INTO thread_details AS t (thread_key, state, error, metadata, temporary, expires_at)
SELECT r.thread_key, CASE WHEN %(begun)s::boolean THEN %(thread_state)s ELSE 'idle' END,
       CASE WHEN %(begun)s THEN %(thread_error)s::jsonb END,
       jsonb_strip_nulls(jsonb_build_object('graph_id', r.agent, 'assistant_id', d.assistant_id)),
       d.temporary, CASE WHEN d.temporary THEN clock_timestamp() + make_interval(secs => %(grace)s) END
FROM runs r JOIN run_details d ON d.run_id = r.id
WHERE r.id = %(id)s AND (%(begun)s OR d.temporary)
ON CONFLICT (thread_key) DO UPDATE SET
    state = CASE WHEN %(begun)s THEN EXCLUDED.state ELSE t.state END,
    error = CASE WHEN %(begun)s THEN EXCLUDED.error ELSE t.error END,
    values = CASE WHEN %(begun)s THEN NULL ELSE t.values END,
    stands_at = CASE WHEN %(begun)s THEN NULL ELSE t.stands_at END,
    metadata = EXCLUDED.metadata || t.metadata,
    expires_at = coalesce(
        EXCLUDED.expires_at, clock_timestamp() + make_interval(secs => 60 * t.ttl_minutes), t.expires_at),
    updated_at = clock_timestamp();

-- name: to_roll_back
-- The owner's own question, once its settlement was refused.
SELECT FROM runs
WHERE id = %(id)s AND epoch = %(epoch)s AND status = 'running' AND cancel_action = 'rollback'
FOR UPDATE;

-- part: forgetting_answers
-- What its calls were answered, also where it went on for another run.
forgotten AS (
    DELETE FROM call_journal j
    USING (SELECT g.id, coalesce(d.lineage, g.id) AS lineage FROM gone g LEFT JOIN run_details d ON d.run_id = g.id) AS l
    WHERE j.lineage = l.lineage AND (j.run_id = l.id OR j.lineage = l.id)
)

-- name: delete
-- Details, idempotency keys, reports and feedback go with it.
WITH gone AS (
    DELETE FROM runs WHERE id = %(id)s RETURNING id, thread_key
),
--include forgetting_answers
SELECT thread_key FROM gone;

-- name: delete_idle
WITH gone AS (
    DELETE FROM runs WHERE id = %(id)s AND status <> 'running' RETURNING id, thread_key
),
--include forgetting_answers
SELECT thread_key FROM gone;

-- name: delete_events
DELETE FROM run_events WHERE thread_key = %(thread_key)s AND run_id = %(id)s;

-- name: forget_values
-- After a rollback the head stands where it stood before: what was asked there is open again. The next reader takes the
-- values from the checkpoint.
UPDATE thread_details d
SET values = NULL, stands_at = NULL, error = NULL, updated_at = clock_timestamp(), state_updated_at = clock_timestamp(),
    state = CASE WHEN d.waiting_at = (
        SELECT checkpoint_id FROM checkpoint_heads h WHERE h.thread_key = d.thread_key AND h.ns = ''
    ) THEN 'interrupted' ELSE 'idle' END
WHERE thread_key = %(thread_key)s;
