-- What a thread's state weighs, by kind of row. Bytes of content; indexes and row headers are PostgreSQL's own business.

-- name: checkpoints
SELECT body, octet_length(body) + octet_length(metadata::text), ns, checkpoint_id FROM checkpoints WHERE thread_key = %(thread_key)s;

-- name: lists
SELECT list_id, items, start FROM checkpoint_lists WHERE thread_key = %(thread_key)s;

-- name: blobs
SELECT hash, octet_length(data) FROM checkpoint_blobs WHERE thread_key = %(thread_key)s;

-- name: writes
SELECT count(*), coalesce(sum(octet_length(body)), 0)::bigint FROM checkpoint_writes WHERE thread_key = %(thread_key)s;
