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
-- Of runs that have ended between two moments. The text is how RunOptions writes it; a run that holds it elsewhere keeps
-- its records for as long as a resumable one.
DELETE FROM run_events e
USING runs r JOIN run_details d ON d.run_id = r.id
WHERE e.run_id = r.id AND e.thread_key = r.thread_key
  AND r.ended_at > %(after)s AND r.ended_at <= %(until)s
  AND position('"resumable":true'::bytea IN coalesce(d.options, '')) = 0;

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
    SELECT id FROM webhook_deliveries WHERE state <> 'pending' AND due_at < %(before)s LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM webhook_deliveries w USING old WHERE w.id = old.id;

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
