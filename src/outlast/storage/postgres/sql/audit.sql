-- The audit log: one chain of entries per tenant.

-- name: pseudonym
-- Under which the log speaks of a user or a thread, from the first time on until the name is forgotten.
INSERT INTO audit_names AS n (tenant, kind, name) VALUES (%(tenant)s, %(kind)s, %(name)s)
ON CONFLICT (tenant, kind, name) DO UPDATE SET name = EXCLUDED.name
RETURNING n.pseudonym;

-- name: lock_head
-- Entries of a tenant come one after another: the row stays locked until the entry is there. The time is taken after the
-- lock, so that it never runs backwards along the chain.
INSERT INTO audit_heads AS h (tenant) VALUES (%(tenant)s)
ON CONFLICT (tenant) DO UPDATE SET tenant = EXCLUDED.tenant
RETURNING h.seq, h.hash, clock_timestamp();

-- name: append
WITH entry AS (
    INSERT INTO audit_log
        (tenant, seq, at, actor, key_id, action, object, details, payload_hash, mac_key, prev_hash, hash)
    VALUES (%(tenant)s, %(seq)s, %(at)s, %(actor)s, %(key_id)s, %(action)s, %(object)s, %(details)s::text::json,
            %(payload_hash)s, %(mac_key)s, %(previous)s, %(hash)s)
    RETURNING tenant, seq, hash
)
UPDATE audit_heads h SET seq = e.seq, hash = e.hash FROM entry e WHERE h.tenant = e.tenant;

-- name: heads
-- Of the tenants that the transaction may see.
SELECT tenant, seq, hash, base_seq, base_hash FROM audit_heads ORDER BY tenant;

-- part: entry
SELECT tenant, seq, at, actor, key_id, action, object, details::text, payload_hash, mac_key, prev_hash, hash
FROM audit_log

-- name: following
-- In the order of the chain.
--include entry
WHERE tenant = %(tenant)s AND seq > %(after)s
ORDER BY seq
LIMIT %(limit)s;

-- name: search
-- The newest first. A name that nobody was recorded under has no pseudonym, and finds nothing.
--include entry
WHERE (%(action)s::text IS NULL OR action = %(action)s OR action LIKE %(action)s || '.%%')
  AND (%(object)s::text IS NULL OR object = %(object)s)
  AND (%(actor)s::text IS NULL OR actor = %(actor)s)
  AND (%(after)s::timestamptz IS NULL OR at >= %(after)s)
  AND (%(before)s::bigint IS NULL OR seq < %(before)s)
ORDER BY at DESC, tenant, seq DESC
LIMIT %(limit)s;

-- name: known_pseudonym
SELECT pseudonym FROM audit_names WHERE tenant = %(tenant)s AND kind = %(kind)s AND name = %(name)s;

-- name: names
SELECT tenant, pseudonym, name FROM audit_names WHERE pseudonym = ANY(%(pseudonyms)s::uuid[]);

-- name: prunable
-- How far the log may be cut off at its beginning: a bounded number of entries, all of them old. The newest entry stays.
SELECT max(seq) FROM (
    SELECT l.seq, l.at FROM audit_log l JOIN audit_heads h ON h.tenant = l.tenant AND l.seq < h.seq
    WHERE l.tenant = %(tenant)s AND l.seq > h.base_seq ORDER BY l.seq LIMIT %(limit)s
) AS first
WHERE at < now() - make_interval(secs => %(age)s);

-- name: allow_prune
SELECT set_config('outlast.prunes_audit', 'yes', true);

-- name: hash_at
SELECT hash FROM audit_log WHERE tenant = %(tenant)s AND seq = %(seq)s;

-- name: prune
WITH cut AS (
    DELETE FROM audit_log WHERE tenant = %(tenant)s AND seq <= %(until)s RETURNING 1
), moved AS (
    UPDATE audit_heads SET base_seq = %(until)s, base_hash = %(hash)s WHERE tenant = %(tenant)s
)
SELECT count(*) FROM cut;

-- name: prunable_tenants
SELECT h.tenant FROM audit_heads h
WHERE EXISTS (
    SELECT FROM audit_log l WHERE l.tenant = h.tenant AND l.seq = h.base_seq + 1 AND l.seq < h.seq
      AND l.at < now() - make_interval(secs => %(age)s)
)
ORDER BY h.tenant LIMIT %(limit)s;
