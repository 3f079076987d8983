-- Keys of tenants, wrapped, and whether the database is encrypted at all.

-- name: state
SELECT state FROM encryption;

-- name: active
SELECT id, tenant, wrapped FROM data_keys WHERE tenant = %(tenant)s AND retired_at IS NULL;

-- name: of_id
SELECT id, tenant, wrapped FROM data_keys WHERE id = %(id)s;

-- name: add
-- Two processes may make one at the same time; the first one's counts.
INSERT INTO data_keys (id, tenant, wrapped, master) VALUES (%(id)s, %(tenant)s, %(wrapped)s, %(master)s)
ON CONFLICT DO NOTHING;

-- name: present
-- Everything that a process looks at now and then: which keys are active, which are there, what is expected of content.
SELECT k.id, k.retired_at IS NULL, (SELECT state FROM encryption) FROM data_keys k WHERE k.id = ANY(%(known)s::uuid[])
UNION ALL
SELECT NULL, NULL, (SELECT state FROM encryption);

-- name: begin
-- A database without content has nothing that could be plain.
INSERT INTO encryption (state)
SELECT CASE WHEN EXISTS (SELECT FROM threads) OR EXISTS (SELECT FROM store_items) OR EXISTS (SELECT FROM crons)
            OR EXISTS (SELECT FROM secrets) THEN %(with_content)s ELSE 'on' END
WHERE %(with_content)s::text IS NOT NULL
   OR NOT (EXISTS (SELECT FROM threads) OR EXISTS (SELECT FROM store_items) OR EXISTS (SELECT FROM crons)
           OR EXISTS (SELECT FROM secrets))
ON CONFLICT DO NOTHING;

-- name: retire
-- A tenant (NULL: every one) gets a new key by the next `add`.
UPDATE data_keys SET retired_at = clock_timestamp()
WHERE retired_at IS NULL AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
RETURNING tenant;

-- name: wrapped_by_others
SELECT id, tenant, wrapped FROM data_keys WHERE master <> %(master)s ORDER BY id LIMIT %(limit)s;

-- name: rewrap
UPDATE data_keys SET wrapped = %(wrapped)s, master = %(master)s WHERE id = %(id)s AND wrapped = %(before)s;

-- name: destroy
DELETE FROM data_keys WHERE tenant = %(tenant)s RETURNING id;

-- name: counts
SELECT tenant, count(*), count(*) FILTER (WHERE retired_at IS NOT NULL AND emptied_at IS NULL),
       count(*) FILTER (WHERE emptied_at IS NOT NULL), count(*) FILTER (WHERE master <> %(master)s),
       max(created_at)
FROM data_keys GROUP BY tenant ORDER BY tenant;

-- name: walk
-- Locked: one process at a time goes on with it, and the others have nothing to do.
SELECT state, walk_column, walk_after, walk_missed, walk_began_at IS NOT NULL,
       EXISTS (SELECT FROM data_keys WHERE retired_at < clock_timestamp() - make_interval(secs => %(settled)s)
               AND emptied_at IS NULL)
FROM encryption FOR UPDATE SKIP LOCKED;

-- name: wanted
SELECT EXISTS (SELECT FROM encryption WHERE state = 'enabling')
    OR EXISTS (SELECT FROM data_keys WHERE retired_at IS NOT NULL AND emptied_at IS NULL);

-- name: walk_begins
UPDATE encryption SET walk_began_at = clock_timestamp(), walk_column = 0, walk_after = NULL, walk_missed = 0;

-- name: walked
UPDATE encryption SET walk_column = %(column)s, walk_after = %(after)s, walk_missed = walk_missed + %(missed)s;

-- name: walk_ends
-- What other processes still wrote with a key after it was retired is found by a walk that began later than that.
WITH ended AS (
    UPDATE encryption SET walk_began_at = NULL, walk_column = 0, walk_after = NULL,
        state = CASE WHEN walk_missed = 0 THEN 'on' ELSE state END
    WHERE walk_began_at IS NOT NULL RETURNING walk_missed
), before AS (
    SELECT walk_began_at FROM encryption
)
UPDATE data_keys k SET emptied_at = clock_timestamp()
FROM before, ended
WHERE k.retired_at < before.walk_began_at - make_interval(secs => %(settled)s) AND k.emptied_at IS NULL
  AND ended.walk_missed = 0;

-- name: forget_transient
-- What is short-lived is not sealed anew but left out.
WITH cached AS (DELETE FROM call_cache)
DELETE FROM run_events;

-- name: live_workers
SELECT count(*) FROM workers WHERE state IN ('live', 'draining') AND heartbeat_at > clock_timestamp() - interval '1 minute';
