-- Random keys that all processes of a database share.

-- name: propose
INSERT INTO secrets (name, value) VALUES (%(name)s, %(value)s) ON CONFLICT (name) DO NOTHING;

-- name: read
-- Alone, after `propose` has committed: what somebody else proposed at the same time is seen.
SELECT value FROM secrets WHERE name = %(name)s;
