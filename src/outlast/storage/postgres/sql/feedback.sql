-- What people say about runs.

-- name: tenant_of
SELECT tenant FROM runs WHERE id = %(run_id)s;

-- name: add
-- No row when the run is gone.
INSERT INTO run_feedback (run_id, key, score, value, comment)
SELECT id, %(key)s, %(score)s, %(value)s, %(comment)s FROM runs WHERE id = %(run_id)s
RETURNING id;
