-- Reads the tables of LangGraph's own PostgresSaver, which are somewhere else: nothing here is of our schema, and nothing
-- here writes. Pages are told by key, so that an import which takes hours holds neither a cursor nor a snapshot.

-- name: tables
-- Which of the tables there are, in the schemas that the connection looks into, and whether they are LangGraph's.
SELECT c.relname
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'checkpoint_ns' AND NOT a.attisdropped
WHERE c.relname = ANY(%(names)s) AND pg_table_is_visible(c.oid);

-- name: count_threads
-- By skipping from one thread to the next in the primary key: a thread has hundreds of rows.
WITH RECURSIVE threads AS (
    (SELECT thread_id FROM checkpoints ORDER BY thread_id LIMIT 1)
    UNION ALL
    SELECT (SELECT c.thread_id FROM checkpoints c WHERE c.thread_id > t.thread_id ORDER BY c.thread_id LIMIT 1)
    FROM threads t WHERE t.thread_id IS NOT NULL
)
SELECT count(thread_id) FROM threads;

-- name: threads
WITH RECURSIVE threads AS (
    (SELECT thread_id, 1 AS n FROM checkpoints
     WHERE %(after)s::text IS NULL OR thread_id > %(after)s ORDER BY thread_id LIMIT 1)
    UNION ALL
    SELECT (SELECT c.thread_id FROM checkpoints c WHERE c.thread_id > t.thread_id ORDER BY c.thread_id LIMIT 1), t.n + 1
    FROM threads t WHERE t.thread_id IS NOT NULL AND t.n < %(limit)s
)
SELECT thread_id FROM threads WHERE thread_id IS NOT NULL;

-- name: ids
-- In the order of the ids, which for LangGraph is the order in which they were made.
SELECT checkpoint_id, checkpoint_ns FROM checkpoints
WHERE thread_id = %(thread_id)s ORDER BY checkpoint_id, checkpoint_ns;

-- name: checkpoints
-- As text: JSON with numbers of any size.
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint::text, metadata::text
FROM checkpoints
WHERE thread_id = %(thread_id)s
  AND (checkpoint_ns, checkpoint_id) IN (SELECT * FROM unnest(%(namespaces)s::text[], %(ids)s::text[]));

-- name: blobs
SELECT b.checkpoint_ns, b.channel, b.version, b.type, b.blob
FROM unnest(%(namespaces)s::text[], %(channels)s::text[], %(versions)s::text[]) AS want (ns, channel, version)
JOIN checkpoint_blobs b ON b.thread_id = %(thread_id)s
    AND b.checkpoint_ns = want.ns AND b.channel = want.channel AND b.version = want.version;

-- name: writes
SELECT w.checkpoint_ns, w.checkpoint_id, w.task_id, w.task_path, w.channel, w.type, w.blob
FROM unnest(%(namespaces)s::text[], %(ids)s::text[]) AS want (ns, id)
JOIN checkpoint_writes w ON w.thread_id = %(thread_id)s
    AND w.checkpoint_ns = want.ns AND w.checkpoint_id = want.id
ORDER BY w.checkpoint_ns, w.checkpoint_id, w.task_path, w.task_id, w.idx;
