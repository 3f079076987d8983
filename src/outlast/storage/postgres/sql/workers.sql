-- Who lives. A worker's heartbeat row is written by a connection that also holds a session advisory lock: when
-- the process is killed, its connection and its lock are gone at once.

-- name: register
-- Repeated after a lost answer it changes nothing.
INSERT INTO workers (id, host, pid, concurrency, agents)
VALUES (%(id)s, %(host)s, %(pid)s, %(concurrency)s, %(agents)s)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp()
RETURNING lock_key;

-- name: hold
SELECT pg_try_advisory_lock(%(class_id)s, %(lock_key)s);

-- name: beat
-- No row in the answer: this worker was declared dead, and its runs belong to others.
UPDATE workers SET heartbeat_at = clock_timestamp(), running = %(running)s
WHERE id = %(id)s AND state IN ('live', 'draining')
RETURNING state;

-- name: cancellations
SELECT id, epoch FROM runs
WHERE worker_id = %(id)s AND status = 'running' AND cancel_requested_at IS NOT NULL;

-- name: drain
UPDATE workers SET state = 'draining' WHERE id = %(id)s AND state = 'live';

-- name: stop
UPDATE workers SET state = 'stopped', ended_at = clock_timestamp(), running = 0
WHERE id = %(id)s AND state IN ('live', 'draining');

-- part: handing_back
-- The attempt was the one before.
told AS (
    INSERT INTO run_history (run_id, epoch, event, tenant)
    SELECT id, epoch - 1, 'handed_back', tenant FROM released
    ON CONFLICT DO NOTHING
)

-- name: release
-- The worker's tasks have really ended; hand back what was not settled, without counting an attempt.
WITH released AS (
    UPDATE runs SET status = 'queued', worker_id = NULL, epoch = epoch + 1, available_at = clock_timestamp()
    WHERE worker_id = %(id)s AND status = 'running'
    RETURNING id, epoch, tenant
),
--include handing_back
SELECT id FROM released;

-- name: give_back_unknown
-- A claim whose answer was lost made runs this worker's that it never heard of; hand them back, without counting an
-- attempt. What it knows is named with the epoch: an older one's execution is about to end.
WITH released AS (
    UPDATE runs r SET status = 'queued', worker_id = NULL, epoch = r.epoch + 1, available_at = clock_timestamp()
    WHERE r.worker_id = %(id)s AND r.status = 'running'
      AND NOT EXISTS (
        SELECT FROM unnest(%(known)s::uuid[], %(epochs)s::integer[]) AS k (id, epoch)
        WHERE k.id = r.id AND k.epoch = r.epoch
      )
    RETURNING r.id, r.epoch, r.tenant
),
--include handing_back
SELECT id FROM released;

-- name: declare_dead
-- Dead is who was silent for a lease, or whose lock is gone and who did not say otherwise for `grace`. Right after the
-- database itself started nobody holds a lock and nobody could write: then nobody is declared dead for one lease who has
-- not been heard of since. A database that recovered from a crash of one of its processes has ended all sessions, and does
-- not call it a start: so a gone lock means something only to a session that has lived through the grace itself.
UPDATE workers w
SET state = 'dead', ended_at = clock_timestamp()
WHERE w.state IN ('live', 'draining')
  AND pg_postmaster_start_time() < greatest(w.heartbeat_at, clock_timestamp() - make_interval(secs => %(lease)s))
  AND (
    w.heartbeat_at < clock_timestamp() - make_interval(secs => %(lease)s)
    OR (
      w.heartbeat_at < clock_timestamp() - make_interval(secs => %(grace)s)
      AND (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid()))
          < clock_timestamp() - make_interval(secs => %(grace)s)
      AND NOT EXISTS (
        SELECT FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
          AND l.classid = %(class_id)s::oid AND l.objid = w.lock_key::oid
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      )
    )
  )
RETURNING w.id, w.pid, w.host;

-- name: reap
-- Give back the runs of dead workers, a batch at a time. SKIP LOCKED: a run whose owner is writing this moment is
-- taken at the next scan. Everything is decided in one statement, so two reapers cannot count one crash twice.
WITH taken AS MATERIALIZED (
    SELECT r.id, r.epoch, r.worker_id, r.claimed_at, r.tenant, w.heartbeat_at
    FROM runs r
    JOIN workers w ON w.id = r.worker_id
    WHERE r.status = 'running' AND w.state IN ('dead', 'stopped')
    ORDER BY r.id
    LIMIT %(limit)s
    FOR UPDATE OF r SKIP LOCKED
), attempts AS (
    INSERT INTO run_attempts (run_id, epoch, kind, error_code, worker_id, began_at, tenant)
    SELECT id, epoch, 'crash', 'crashed', worker_id, claimed_at, tenant FROM taken
    ON CONFLICT DO NOTHING
)
UPDATE runs r
SET status = 'queued', epoch = r.epoch + 1, crashes = r.crashes + 1, worker_id = NULL,
    -- The first crash may be the worker's own fault: again at once. A second time it waits for others to pass.
    available_at = clock_timestamp() + make_interval(secs => r.crashes * 2)
FROM taken
WHERE r.id = taken.id
RETURNING r.id, r.crashes, r.epoch, extract(epoch FROM clock_timestamp() - taken.heartbeat_at)::float8;

-- name: stranded
-- Threads with blocked runs and nothing in front: there should be none; recovery unblocks them.
SELECT DISTINCT b.thread_key, b.tenant FROM runs b
WHERE b.status = 'blocked'
  AND NOT EXISTS (
    SELECT FROM runs f WHERE f.thread_key = b.thread_key AND f.status IN ('queued', 'running', 'waiting')
  )
LIMIT 100;

-- name: live
SELECT id, host, pid, concurrency, running, state, agents, started_at,
       extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS age_seconds
FROM workers WHERE state IN ('live', 'draining') ORDER BY started_at;

-- name: forget_ended
DELETE FROM workers WHERE state IN ('stopped', 'dead') AND ended_at < clock_timestamp() - interval '1 day'
  AND NOT EXISTS (SELECT FROM runs WHERE worker_id = workers.id);
