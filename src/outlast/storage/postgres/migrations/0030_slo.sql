-- phase: before
-- How often what was promised was kept: counts for service levels, of all tenants together. No names but those of agents,
-- so there is nothing of a tenant or a user here, and no row security.

-- Five minutes a row; an hour after seven hours, a day after four days. What is older than an error budget looks back on is
-- summed in one row at the epoch, so the sum of all rows only ever grows.
CREATE TABLE slo_counts (
    -- The limits (seconds, dollars) by which it was judged what is good, as a hash: other limits count anew. '': there are none.
    print  text NOT NULL,
    slo    text NOT NULL,
    -- '': it is not known whose it was.
    agent  text NOT NULL,
    slot   timestamptz NOT NULL,
    good   bigint NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (print, slo, agent, slot),
    CHECK (good BETWEEN 0 AND events)
);
CREATE INDEX slo_counts_by_time ON slo_counts (slot);

-- How far it was counted. The row is also what a process takes that is about to count.
CREATE TABLE slo_rollups (
    print     text PRIMARY KEY,
    rolled_to timestamptz NOT NULL,
    rolled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Recovery is counted from these; one row in a thousand, or fewer.
CREATE INDEX run_attempts_crashed ON run_attempts (ended_at) WHERE kind = 'crash';
