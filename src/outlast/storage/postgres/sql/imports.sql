-- Where an import of threads stands, asked of the target itself: what is there needs no other record.

-- name: present
SELECT checkpoint_id, ns FROM checkpoints WHERE thread_key = %(thread_key)s;

-- name: hold
-- A part of a thread must not be taken for all of it.
UPDATE threads SET quarantine_reason = %(reason)s WHERE key = %(thread_key)s AND quarantine_reason IS NULL;

-- name: release
-- A thread is as old as its first checkpoint.
UPDATE threads
SET quarantine_reason = nullif(quarantine_reason, %(reason)s),
    created_at = least(created_at, %(created_at)s::timestamptz)
WHERE key = %(thread_key)s;
