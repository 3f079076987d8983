-- phase: before
-- API keys. Only the hash of a secret is here: who reads this table can open nothing with it.

CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    tenant text NOT NULL DEFAULT current_tenant(),
    user_id text,
    name text,
    scopes text[] NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text,
    expires_at timestamptz,
    revoked_at timestamptz,
    -- To about ten minutes: a write for each request would cost more than the request.
    last_used_at timestamptz,
    -- The key that has taken its place. One key has one successor, so that at most two live at a time.
    replaced_by text UNIQUE
);

CREATE INDEX api_keys_of_tenant ON api_keys (tenant, created_at DESC);
