-- The store. `path` is a namespace as text: see migration 0006. What has expired is gone, whether it was swept or not.

-- name: get
SELECT i.path, i.key, i.value, i.created_at, i.updated_at, NULL AS score
FROM unnest(%(paths)s::text[], %(keys)s::text[]) AS g (path, key)
JOIN store_items i ON i.tenant = current_tenant() AND i.path = g.path AND i.key = g.key
WHERE i.expires_at IS NULL OR i.expires_at > clock_timestamp();

-- name: refresh
-- SKIP LOCKED: whoever writes the item sets its time anyway, and no reader waits for another. An item that was read a
-- moment ago, measured by the life it was given, is left alone, or a busy one would be written at each read.
WITH read AS MATERIALIZED (
    SELECT i.path, i.key
    FROM unnest(%(paths)s::text[], %(keys)s::text[]) AS g (path, key)
    JOIN store_items i ON i.tenant = current_tenant() AND i.path = g.path AND i.key = g.key
    WHERE i.expires_at > clock_timestamp()
      AND i.expires_at < clock_timestamp() + make_interval(secs => i.ttl_minutes * 60 * 0.99)
    FOR NO KEY UPDATE OF i SKIP LOCKED
)
UPDATE store_items i
SET expires_at = clock_timestamp() + make_interval(secs => i.ttl_minutes * 60)
FROM read
WHERE i.tenant = current_tenant() AND i.path = read.path AND i.key = read.key;

-- name: lock
-- Before a batch writes several items: batches that meet wait for each other in one order. Not by the items' rows, of
-- which some are not there yet. 256 locks at most, whatever the batch. Who writes one item waits for no second one.
SELECT count(pg_advisory_xact_lock(%(class_id)s, b.bucket)) FROM (
    SELECT DISTINCT (hashtextextended(g.path || g.key, 0) & 255)::integer AS bucket
    FROM unnest(%(paths)s::text[], %(keys)s::text[]) AS g (path, key)
    ORDER BY bucket
) AS b;

-- name: hold_run
-- What a node writes is a write of its run as any other: refused once the run is another worker's, or was erased. FOR SHARE:
-- whoever raises the epoch or deletes the run waits for this transaction.
SELECT FROM runs WHERE id = %(run_id)s AND epoch = %(epoch)s AND status = 'running' FOR SHARE;

-- name: put
-- What comes after an expired item is another item.
INSERT INTO store_items AS i (path, key, value, ttl_minutes, expires_at)
SELECT g.path, g.key, g.value, g.ttl_minutes, clock_timestamp() + make_interval(secs => g.ttl_minutes * 60)
FROM unnest(%(paths)s::text[], %(keys)s::text[], %(values)s::jsonb[], %(ttls)s::double precision[])
    AS g (path, key, value, ttl_minutes)
ON CONFLICT (tenant, path, key) DO UPDATE SET
    value = EXCLUDED.value, ttl_minutes = EXCLUDED.ttl_minutes, expires_at = EXCLUDED.expires_at,
    created_at = CASE WHEN i.expires_at <= clock_timestamp() THEN clock_timestamp() ELSE i.created_at END,
    updated_at = clock_timestamp();

-- name: forget_vectors
DELETE FROM store_vectors v
USING unnest(%(paths)s::text[], %(keys)s::text[]) AS g (path, key)
WHERE v.tenant = current_tenant() AND v.path = g.path AND v.key = g.key;

-- name: put_vector
INSERT INTO store_vectors (path, key, part, embedding) VALUES (%(path)s, %(key)s, %(part)s, %(embedding)s::real[]);

-- name: delete
DELETE FROM store_items i
USING unnest(%(paths)s::text[], %(keys)s::text[]) AS g (path, key)
WHERE i.tenant = current_tenant() AND i.path = g.path AND i.key = g.key;

-- name: search
-- `from` and `below` bound what lies under a namespace, in the order of the primary key.
SELECT i.path, i.key, i.value, i.created_at, i.updated_at, NULL AS score
FROM store_items i
WHERE i.tenant = current_tenant() AND i.path >= %(from)s AND i.path < %(below)s
  AND (i.expires_at IS NULL OR i.expires_at > clock_timestamp())
--if contains
  AND i.value @> %(contains)s::jsonb
--end
--if conditions
  AND store_item_matches(i.value, %(conditions)s::jsonb)
--end
ORDER BY i.updated_at DESC, i.path, i.key
LIMIT %(limit)s OFFSET %(offset)s;

-- name: nearest
-- Exact, within the namespace: an index over all vectors would lose results to the filter. A vector of another length is of
-- another embedding, which the project has given up. The best text of an item counts.
SELECT i.path, i.key, i.value, i.created_at, i.updated_at, n.score
FROM (
    SELECT v.path, v.key, max(
        CASE WHEN cardinality(v.embedding) = cardinality(%(vector)s::real[]) THEN coalesce(
--if pgvector
            -(v.embedding::vector <#> %(vector)s::real[]::vector),
--end
--if not pgvector
            (SELECT sum(a * b) FROM unnest(v.embedding, %(vector)s::real[]) AS t (a, b)),
--end
            NULL)
        END) AS score
    FROM store_vectors v
    JOIN store_items i USING (tenant, path, key)
    WHERE v.tenant = current_tenant() AND v.path >= %(from)s AND v.path < %(below)s
      AND (i.expires_at IS NULL OR i.expires_at > clock_timestamp())
--if contains
      AND i.value @> %(contains)s::jsonb
--end
--if conditions
      AND store_item_matches(i.value, %(conditions)s::jsonb)
--end
    GROUP BY v.path, v.key
    ORDER BY score DESC NULLS LAST, v.path, v.key
    LIMIT %(limit)s OFFSET %(offset)s
) AS n
JOIN store_items i ON i.tenant = current_tenant() AND i.path = n.path AND i.key = n.key
WHERE n.score IS NOT NULL
ORDER BY n.score DESC, n.path, n.key;

-- name: namespaces
-- Jumps from one namespace to the next along the primary key, so that what lies in a namespace costs nothing, and stops at
-- the limit. `start` and `stop` bound one namespace; where it is cut at `depth`, all below it.
WITH RECURSIVE found AS (
    SELECT p.path, b.start, b.stop
    FROM (SELECT min(i.path) AS path FROM store_items i
          WHERE i.tenant = current_tenant() AND i.path >= %(from)s AND i.path < %(below)s) AS p
    CROSS JOIN LATERAL store_namespace(p.path, %(depth)s) AS b
    WHERE p.path IS NOT NULL
    UNION ALL
    SELECT p.path, b.start, b.stop
    FROM found f
    CROSS JOIN LATERAL (
        SELECT i.path FROM store_items i
        WHERE i.tenant = current_tenant() AND i.path >= f.stop AND i.path < %(below)s
        ORDER BY i.path LIMIT 1
    ) AS p
    CROSS JOIN LATERAL store_namespace(p.path, %(depth)s) AS b
)
SELECT f.start FROM found f
WHERE EXISTS (
    SELECT FROM store_items i
    WHERE i.tenant = current_tenant() AND i.path >= f.start AND i.path < f.stop
      AND (i.expires_at IS NULL OR i.expires_at > clock_timestamp())
      AND i.path ~ ALL(%(patterns)s::text[])
)
LIMIT %(limit)s OFFSET %(offset)s;

-- name: vector_schema
-- Where the extension `vector` is, made if the server has it; NULL when there is none for us.
SELECT store_vector_schema();

-- name: see_vectors
-- Until the end of the transaction: our own schema is the only one otherwise.
SELECT set_config('search_path', concat_ws(', ', current_setting('search_path'), quote_ident(%(schema)s)), true);
