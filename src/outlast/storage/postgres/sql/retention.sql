-- What is deleted by age. Each statement takes a bounded number of rows, so that none of them holds a lock for long.
-- now(), where a search has an index: its transaction has just begun, and unlike clock_timestamp() it bounds what is read.

-- part: unused
-- Whoever still has to do with a thread keeps it: a run that has not ended, a report not sent.
  AND NOT EXISTS (
      SELECT FROM runs r WHERE r.thread_key = d.thread_key
      AND (r.status IN ('queued', 'running', 'waiting') OR r.status = 'blocked'))
  AND NOT EXISTS (
      SELECT FROM runs r JOIN webhook_deliveries w ON w.run_id = r.id
      WHERE r.thread_key = d.thread_key AND w.state = 'pending')

-- name: expired_threads
-- Threads whose time has come.
SELECT t.thread_id, t.tenant
FROM thread_details d
JOIN threads t ON t.key = d.thread_key AND t.deleted_at IS NULL
WHERE d.expires_at <= now()
--include unused
ORDER BY d.expires_at
LIMIT %(limit)s;

-- name: lock_expired
-- Decided anew under the thread's lock, which each new run has to take first. No row: somebody else was faster, or the
-- thread is in use again. Two looks, since what was waited for is not seen by the statement that waited.
SELECT FROM threads WHERE key = %(thread_key)s AND deleted_at IS NULL FOR UPDATE SKIP LOCKED;

-- name: still_expired
SELECT coalesce(d.ttl_strategy, 'delete')
FROM thread_details d
WHERE d.thread_key = %(thread_key)s AND d.expires_at <= clock_timestamp()
--include unused
;

-- name: forget_expiry
UPDATE thread_details SET expires_at = NULL WHERE thread_key = %(thread_key)s;

-- name: forget_items
WITH expired AS (
    SELECT tenant, path, key FROM store_items WHERE expires_at <= now()
    ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM store_items i USING expired e WHERE i.tenant = e.tenant AND i.path = e.path AND i.key = e.key;

-- name: forget_old_events
-- Of whatever run, by their own age: a position begins with a time.
WITH old AS (
    SELECT thread_key, pos FROM run_events WHERE pos < %(before)s ORDER BY pos LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM run_events e USING old o WHERE e.thread_key = o.thread_key AND e.pos = o.pos;

-- name: forget_events_of_ended
-- Of runs that have ended between two moments. Before migration 0020 only the options said what is resumable; the text is
-- how RunOptions writes it.
DELETE FROM run_events e
USING runs r JOIN run_details d ON d.run_id = r.id
WHERE e.run_id = r.id AND e.thread_key = r.thread_key
  AND r.ended_at > %(after)s AND r.ended_at <= %(until)s
  AND NOT coalesce(d.resumable, position('"resumable":true'::bytea IN coalesce(d.options, '')) > 0);

-- name: ended_between
-- The next runs that ended, in that order, to go on from the last one.
SELECT id, ended_at FROM runs
WHERE ended_at IS NOT NULL AND ended_at <= %(until)s AND (ended_at, id) > (%(after)s, %(after_id)s)
ORDER BY ended_at, id
LIMIT %(limit)s;

-- name: forget_outputs
-- Of runs of the Agent Server API, whose threads hold the values too; a plain run is read by itself for as long as it
-- is kept, and a report that is not sent yet needs the output.
UPDATE run_details d SET output = NULL
WHERE d.run_id = ANY(%(ids)s::uuid[]) AND d.options IS NOT NULL AND d.output IS NOT NULL
  AND NOT EXISTS (SELECT FROM webhook_deliveries w WHERE w.run_id = d.run_id AND w.state = 'pending');

-- name: forget_deliveries
WITH old AS (
    SELECT id FROM webhook_deliveries WHERE state <> 'pending' AND due_at < %(before)s ORDER BY due_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM webhook_deliveries w USING old WHERE w.id = old.id;

-- name: idle_threads
-- On which nothing has happened for long, and which have no time of their own.
SELECT t.thread_id, t.tenant
FROM thread_details d
JOIN threads t ON t.key = d.thread_key AND t.deleted_at IS NULL
WHERE d.expires_at IS NULL AND d.updated_at < now() - make_interval(secs => %(age)s)
--include unused
ORDER BY d.updated_at
LIMIT %(limit)s;

-- name: still_idle
SELECT 'delete'
FROM thread_details d
WHERE d.thread_key = %(thread_key)s AND d.expires_at IS NULL
  AND d.updated_at < clock_timestamp() - make_interval(secs => %(age)s)
--include unused
;

-- name: forget_runs
-- With everything that is theirs alone. Not while a run of the same thread has still to run: it may go on from theirs; nor
-- while a report has to be sent, or a person has still to answer.
WITH old AS (
    SELECT r.id FROM runs r
    WHERE r.ended_at < now() - make_interval(secs => %(age)s)
      AND NOT EXISTS (SELECT FROM runs u WHERE u.thread_key = r.thread_key AND u.ended_at IS NULL)
      AND NOT EXISTS (SELECT FROM webhook_deliveries w WHERE w.run_id = r.id AND w.state = 'pending')
      AND NOT EXISTS (SELECT FROM questions q WHERE q.run_id = r.id AND q.status = 'open')
    ORDER BY r.ended_at
    LIMIT %(limit)s
    FOR UPDATE OF r SKIP LOCKED
), answers AS (
    DELETE FROM call_journal j USING old o JOIN run_details d ON d.run_id = o.id WHERE j.lineage = coalesce(d.lineage, o.id)
)
DELETE FROM runs r USING old o WHERE r.id = o.id;

-- name: forget_decisions
WITH old AS (
    SELECT id FROM admission_decisions WHERE at < now() - make_interval(secs => %(age)s) LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM admission_decisions d USING old o WHERE d.id = o.id;

-- name: forget_usage_days
DELETE FROM usage_days WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM usage_days WHERE day < (now() - make_interval(secs => %(age)s))::date LIMIT %(limit)s
));

-- name: forget_budgets
-- What counts for ever (a user's total) is kept for ever; a run's total counts while there are runs of it.
DELETE FROM budget_counters WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM budget_counters
    WHERE changed_at < now() - make_interval(secs => %(age)s) AND reserved_micros = 0 AND reserved_tokens = 0
      AND (period > '1970-01-01' OR per = 'run')
    LIMIT %(limit)s
));

-- name: forget_tombstones
-- A writer that is so late has no lease, no epoch and no thread any more.
DELETE FROM threads WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM threads t
    WHERE t.deleted_at < now() - make_interval(secs => %(age)s) AND NOT EXISTS (SELECT FROM runs r WHERE r.thread_key = t.key)
    ORDER BY t.deleted_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
));

-- name: alone
-- One process at a time does a kind of upkeep; the others find it done.
SELECT pg_try_advisory_xact_lock(%(class_id)s, %(task)s);

-- name: now
SELECT clock_timestamp();

-- name: forget_effects
-- Of threads on which nothing can be executed again: no run that has still to run, waits for an answer, or may be replayed.
-- An outcome that nobody knows stays, and so does an effect with a key of the project's own: it is for all runs to come.
WITH old AS (
    SELECT e.key, e.lineage, e.task FROM effects e
    WHERE e.business_key IS NULL AND e.ended_at < now() - make_interval(secs => %(age)s)
      AND NOT EXISTS (
          SELECT FROM runs r WHERE r.thread_key = e.thread_key AND r.status NOT IN ('succeeded', 'cancelled'))
    ORDER BY e.ended_at
    LIMIT %(limit)s
    FOR UPDATE OF e SKIP LOCKED
), answered AS (
    DELETE FROM effect_questions q USING old o WHERE q.lineage = o.lineage AND q.task = o.task AND q.key = o.key
)
DELETE FROM effects e USING old o WHERE e.key = o.key;
