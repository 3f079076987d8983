-- name: last
-- Asked where a run is traced that was begun before: whoever goes on with it tells the span of a worker that died.
SELECT epoch, kind, worker_id, began_at, ended_at
FROM run_attempts
WHERE run_id = %(id)s
ORDER BY epoch DESC
LIMIT 1;
