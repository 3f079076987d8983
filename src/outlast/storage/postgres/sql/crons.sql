-- Crons. Lock order: the thread, then the cron, then runs; whoever deletes a thread comes from the other side.

-- name: now
SELECT clock_timestamp();

-- name: create
INSERT INTO crons (id, assistant_id, thread_key, user_id, schedule, timezone, end_at, enabled, next_run_at, payload,
                   template, metadata, on_run_completed)
VALUES (%(id)s, %(assistant_id)s, %(thread_key)s, %(user_id)s, %(schedule)s, %(timezone)s, %(end_at)s, %(enabled)s,
        %(next_run_at)s, %(payload)s, %(template)s, %(metadata)s, %(on_run_completed)s);

-- part: shown
SELECT c.id, c.assistant_id, t.thread_id, c.user_id, c.schedule, c.timezone, c.end_at, c.enabled, c.next_run_at,
       c.payload, c.metadata, c.on_run_completed, c.created_at, c.updated_at
FROM crons c
LEFT JOIN threads t ON t.key = c.thread_key

-- name: get
--include shown
WHERE c.id = %(id)s AND (%(access)s::jsonpath IS NULL OR c.metadata @@ %(access)s::jsonpath);

-- name: update
-- Only what was read: of two changes at once the second one is told.
UPDATE crons SET
    schedule = %(schedule)s, timezone = %(timezone)s, end_at = %(end_at)s, enabled = %(enabled)s,
    -- A tick may have passed since; only a change of the times sets it anew.
    next_run_at = CASE WHEN %(retimed)s THEN %(next_run_at)s ELSE next_run_at END,
    payload = %(payload)s,
    -- Null: its runs stay what they are, and whose they are.
    template = coalesce(%(template)s, template),
    user_id = CASE WHEN %(template)s::bytea IS NULL THEN user_id ELSE %(user_id)s END,
    metadata = %(metadata)s, on_run_completed = %(on_run_completed)s,
    updated_at = clock_timestamp()
WHERE id = %(id)s AND updated_at = %(seen)s
RETURNING id;

-- name: delete
DELETE FROM crons
WHERE id = %(id)s AND (%(access)s::jsonpath IS NULL OR metadata @@ %(access)s::jsonpath)
RETURNING id;

-- part: wanted
WHERE true
--if assistant_id
  AND c.assistant_id = %(assistant_id)s
--end
--if thread_key
  AND c.thread_key = %(thread_key)s
--end
--if enabled
  AND c.enabled = %(enabled)s
--end
--if metadata
  AND c.metadata @> %(metadata)s::jsonb
--end
--if access
  AND c.metadata @@ %(access)s::jsonpath
--end

-- name: search
--include shown
--include wanted
ORDER BY
--if assistant_id_asc
    c.assistant_id,
--end
--if assistant_id_desc
    c.assistant_id DESC,
--end
--if thread_id_asc
    t.thread_id,
--end
--if thread_id_desc
    t.thread_id DESC,
--end
--if created_at_asc
    c.created_at,
--end
--if created_at_desc
    c.created_at DESC,
--end
--if updated_at_asc
    c.updated_at,
--end
--if updated_at_desc
    c.updated_at DESC,
--end
--if next_run_date_asc
    c.next_run_at,
--end
--if next_run_date_desc
    c.next_run_at DESC NULLS LAST,
--end
--if end_time_asc
    c.end_at,
--end
--if end_time_desc
    c.end_at DESC NULLS LAST,
--end
--if cron_id_desc
    c.id DESC,
--end
    c.id
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count
SELECT count(*) FROM crons c
--include wanted
;

-- name: due
-- Without a lock: what each of them needs is locked one after the other, in the order of locks. now() is this statement's
-- time, as it is a transaction of its own, and unlike clock_timestamp() it bounds what is read of the index.
SELECT c.id, c.thread_key, c.tenant, c.user_id FROM crons c
JOIN assistants a ON a.id = c.assistant_id
WHERE c.enabled AND c.next_run_at <= now() AND a.graph_id = ANY(%(agents)s)
ORDER BY c.next_run_at, c.id
LIMIT %(limit)s;

-- name: next_due
-- Seconds until the next tick (negative: it is due); no row when there is none.
SELECT extract(epoch FROM c.next_run_at - clock_timestamp())::float8 FROM crons c
JOIN assistants a ON a.id = c.assistant_id
WHERE c.enabled AND c.next_run_at IS NOT NULL AND a.graph_id = ANY(%(agents)s)
ORDER BY c.next_run_at LIMIT 1;

-- name: lock_thread
SELECT key FROM threads WHERE key = %(thread_key)s FOR UPDATE;

-- name: lock_due
-- No row: another scheduler has this tick in hand, or is through with it.
SELECT c.id, c.next_run_at, clock_timestamp(), t.thread_id, c.schedule, c.timezone, c.end_at, c.template,
       a.id, a.graph_id, a.name, a.description, a.config, a.context, a.metadata, a.version, a.created_at, a.updated_at
FROM crons c
JOIN assistants a ON a.id = c.assistant_id
LEFT JOIN threads t ON t.key = c.thread_key
WHERE c.id = %(id)s AND c.enabled AND c.next_run_at <= clock_timestamp()
FOR UPDATE OF c SKIP LOCKED;

-- name: advance
UPDATE crons SET next_run_at = %(next_run_at)s WHERE id = %(id)s;
