-- API keys: their hashes, what they open, and until when.

-- part: shown
key_id, tenant, user_id, name, scopes,
CASE
    WHEN revoked_at IS NOT NULL THEN 'revoked'
    WHEN expires_at <= clock_timestamp() THEN 'expired'
    ELSE 'live'
END,
created_at, expires_at, revoked_at, last_used_at, replaced_by

-- name: create
INSERT INTO api_keys (key_id, user_id, name, scopes, secret_sha256, created_by, expires_at)
VALUES (
    %(key_id)s, %(user)s, %(name)s, %(scopes)s, %(digest)s, %(by)s,
    clock_timestamp() + %(lifetime)s::interval
)
RETURNING
--include shown
;

-- name: opened_by
-- What a key opens, by its public id: before anybody knows for which tenant. How long it is still good is told in
-- seconds, so that only the database's clock decides.
SELECT
    tenant, user_id, scopes, secret_sha256, revoked_at IS NOT NULL,
    extract(epoch FROM expires_at - clock_timestamp())::float8,
    coalesce(last_used_at < clock_timestamp() - interval '10 minutes', true)
FROM api_keys WHERE key_id = %(key_id)s;

-- name: used
-- The condition again: of many processes that notice at the same time one writes.
UPDATE api_keys SET last_used_at = clock_timestamp()
WHERE key_id = %(key_id)s AND coalesce(last_used_at < clock_timestamp() - interval '10 minutes', true);

-- name: listed
SELECT
--include shown
FROM api_keys
WHERE %(all)s OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()))
ORDER BY created_at DESC, key_id
LIMIT %(limit)s;

-- name: one
SELECT
--include shown
FROM api_keys WHERE key_id = %(key_id)s;

-- name: revoke
-- Again is as good as once: the first time counts.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE key_id = %(key_id)s
RETURNING
--include shown
;

-- name: rotate
-- In one statement: the old key gets its end and the new one what the old one was for. No row when the old key is not
-- live, or has a successor already. The new one lives as long as the old one was meant to.
WITH old AS (
    SELECT key_id, tenant, user_id, name, scopes, expires_at - created_at AS lifetime
    FROM api_keys
    WHERE key_id = %(key_id)s AND replaced_by IS NULL AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > clock_timestamp())
    FOR UPDATE
), ended AS (
    UPDATE api_keys k SET
        replaced_by = %(new_id)s,
        expires_at = least(k.expires_at, clock_timestamp() + %(grace)s::interval)
    FROM old WHERE k.key_id = old.key_id
)
INSERT INTO api_keys (key_id, tenant, user_id, name, scopes, secret_sha256, created_by, expires_at)
SELECT %(new_id)s, tenant, user_id, name, scopes, %(digest)s, %(by)s, clock_timestamp() + lifetime FROM old
RETURNING
--include shown
;
