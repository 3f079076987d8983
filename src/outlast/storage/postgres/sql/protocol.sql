-- What the thread-centred protocol asks of a thread besides its stream.

-- name: standing
-- The latest run that has begun, and where what is kept of it begins. Ended a minute ago, nobody waits for its end any more.
SELECT coalesce(d.protocol_floor, 0), r.id, r.status,
       r.ended_at < clock_timestamp() - make_interval(secs => %(seconds)s),
       (SELECT min(e.pos) FROM run_events e WHERE e.thread_key = %(thread_key)s AND e.run_id = r.id)
FROM (SELECT) one
LEFT JOIN thread_details d ON d.thread_key = %(thread_key)s
LEFT JOIN LATERAL (
    SELECT id, status, ended_at FROM runs
    WHERE thread_key = %(thread_key)s AND (started_at IS NOT NULL OR ended_at IS NOT NULL)
    ORDER BY created_at DESC LIMIT 1
) r ON true;

-- name: raise_floor
UPDATE thread_details SET protocol_floor = %(floor)s
WHERE thread_key = %(thread_key)s AND protocol_floor < %(floor)s;

-- name: lifecycle
-- What the graphs inside of a run have said of themselves.
SELECT pos, ns, data FROM run_events
WHERE thread_key = %(thread_key)s AND run_id = %(run_id)s AND mode = %(mode)s
ORDER BY pos LIMIT %(limit)s;
