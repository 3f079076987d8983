-- phase: before
-- Rate limits that all processes keep together, and answers of model calls kept for equal questions.

-- One row per measure of a limit (`openai:3f2a requests`). UNLOGGED: after a crash of the database the limits begin anew,
-- which costs at most one burst, and taking a slot costs no flush of the log.
CREATE UNLOGGED TABLE rate_limits (
    name         text PRIMARY KEY,
    -- When the last slot that was taken is worked off: the generic cell rate algorithm's only state.
    free_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The provider asked to be left alone until then.
    paused_until timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Seconds of all pauses so far. Whoever holds a slot adds what came since: order and distances stay.
    shifted      double precision NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- UNLOGGED: losing an answer costs a call.
CREATE UNLOGGED TABLE call_cache (
    -- BLAKE2b-256 of tenant, model and everything that is asked.
    key        bytea PRIMARY KEY,
    body       bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
-- Messages are long, and compressing them would cost more than it saves.
ALTER TABLE call_cache ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX call_cache_by_expiry ON call_cache (expires_at);
