-- How many checkpoints there are, what they weigh, and which threads have a history that nobody needs any more.

-- name: by_agent
-- Reads every checkpoint of the tenant once. The ids of checkpoints begin with their time, so the least is the oldest.
SELECT coalesce(metadata ->> 'graph_id', ''), count(*), count(DISTINCT thread_key),
       min(checkpoint_id::text COLLATE "C"), max(checkpoint_id::text COLLATE "C"),
       sum(octet_length(body) + octet_length(metadata::text))::bigint
FROM checkpoints
GROUP BY 1
ORDER BY 6 DESC, 1;

-- name: beside
-- What belongs to checkpoints and is kept in tables of its own: values that several of them share, and writes of tasks.
SELECT (SELECT coalesce(sum(octet_length(items)), 0) FROM checkpoint_lists)::bigint,
       (SELECT coalesce(sum(octet_length(data)), 0) FROM checkpoint_blobs)::bigint,
       (SELECT coalesce(sum(octet_length(body)), 0) FROM checkpoint_writes)::bigint;

-- name: with_history
-- Threads that have more checkpoints than their present ones, and on which nothing has happened for long. Oldest first.
SELECT t.thread_id, d.updated_at, t.key
FROM threads t
JOIN thread_details d ON d.thread_key = t.key
WHERE t.deleted_at IS NULL AND d.updated_at < clock_timestamp() - make_interval(secs => %(age)s)
  AND (d.updated_at, t.key) > (coalesce(%(after)s::timestamptz, '-infinity'), coalesce(%(after_key)s::uuid, '00000000-0000-0000-0000-000000000000'))
  AND (%(whole)s::boolean OR EXISTS (
      SELECT FROM checkpoints c WHERE c.thread_key = t.key AND c.ns = '' AND c.checkpoint_id <> (
          SELECT h.checkpoint_id FROM checkpoint_heads h WHERE h.thread_key = t.key AND h.ns = '')))
  -- A dead letter goes on from its checkpoints, and a question is asked at one.
  AND NOT EXISTS (
      SELECT FROM runs r WHERE r.thread_key = t.key
      AND (r.status IN ('queued', 'running', 'waiting') OR r.status = 'blocked'
           OR r.status = 'failed' AND r.discarded_at IS NULL))
ORDER BY d.updated_at, t.key
LIMIT %(limit)s;
