-- phase: before
-- What model calls cost, by day, and how it is found.

-- Of a time, and what is old.
CREATE INDEX call_usage_by_time ON call_usage (at);
-- Of a run, and what its earlier attempts have used.
CREATE INDEX call_usage_by_run ON call_usage (run_id);
CREATE INDEX call_usage_by_thread ON call_usage (thread_key);

-- Usage that is too old to be kept call by call. Which run and which thread it was of is forgotten.
CREATE TABLE usage_days (
    -- In UTC.
    day                date NOT NULL,
    tenant             text NOT NULL,
    user_id            text,
    agent              text NOT NULL,
    provider           text NOT NULL,
    model              text NOT NULL,
    -- Answered by a provider or out of the cache; tries that failed are not among them.
    calls              bigint NOT NULL,
    cached             bigint NOT NULL,
    failed             bigint NOT NULL,
    -- Of both, those whose price nobody knows.
    unpriced           bigint NOT NULL,
    input_tokens       bigint NOT NULL,
    output_tokens      bigint NOT NULL,
    cache_read_tokens  bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens   bigint NOT NULL,
    -- US dollars x 1,000,000.
    cost_micros        bigint NOT NULL,
    -- What the answers out of the cache had cost once.
    saved_micros       bigint NOT NULL
);
-- NULL is a user, too: the one who is not known.
CREATE UNIQUE INDEX usage_days_once ON usage_days (day, tenant, coalesce(user_id, ''), agent, provider, model);

-- When a person last answered or replayed the run: its time begins anew, since it was not running while it waited.
ALTER TABLE run_details ADD COLUMN resumed_at timestamptz;
