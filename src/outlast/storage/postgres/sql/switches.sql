-- Kill switches. A row means off.

-- name: all_off
SELECT tenant, kind, name, reason, off_by, off_at FROM switches ORDER BY off_at, tenant, kind, name;

-- name: turn_off
-- Turned off twice, the first time and its reason stay: that is when it happened. xmax tells which of both it was.
INSERT INTO switches AS s (tenant, kind, name, reason, off_by)
VALUES (%(tenant)s, %(kind)s, %(name)s, %(reason)s, %(by)s)
ON CONFLICT (tenant, kind, name) DO UPDATE SET kind = EXCLUDED.kind
RETURNING s.tenant, s.kind, s.name, s.reason, s.off_by, s.off_at, s.xmax = 0;

-- name: turn_on
DELETE FROM switches WHERE tenant = %(tenant)s AND kind = %(kind)s AND name = %(name)s
RETURNING tenant, kind, name, reason, off_by, off_at;

-- name: release
-- Runs that stopped at this tool are due again, and have forgotten it. Those that stopped at other tools stay.
UPDATE run_details d SET held_by = NULL
FROM runs r
WHERE d.held_by = %(name)s AND r.id = d.run_id
  AND (%(tenant)s = '*' OR r.tenant = %(tenant)s)
RETURNING d.run_id;

-- name: hold
-- Only by the run's owner.
WITH fence AS MATERIALIZED (
    SELECT id FROM runs WHERE id = %(id)s AND epoch = %(epoch)s AND status = 'running' FOR NO KEY UPDATE
)
UPDATE run_details d SET held_by = %(tool)s FROM fence WHERE d.run_id = fence.id
RETURNING d.run_id;

-- name: waiting_for
-- How many runs each switch holds back: what is queued of a tenant or an agent, and what stopped at a tool.
SELECT s.tenant, s.kind, s.name, (
    SELECT count(*) FROM runs r
    WHERE r.status = 'queued' AND (s.tenant = '*' OR r.tenant = s.tenant)
      AND (s.kind = 'tenant' OR s.kind = 'agent' AND r.agent = s.name
           OR s.kind = 'tool' AND EXISTS (
               SELECT FROM run_details d WHERE d.run_id = r.id AND d.held_by = s.name))
)
FROM switches s;
