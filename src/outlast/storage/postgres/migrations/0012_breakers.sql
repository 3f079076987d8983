-- phase: before
-- What all processes know of the providers of models: who is left alone, and how many retries there were.
-- Unlogged: nothing here is worth a flush of the log, and a crash of the server costs a handful of failed calls.

-- One model under one key. A change is accepted only if `version` is still the one that was looked at.
CREATE UNLOGGED TABLE breakers (
    circuit     text PRIMARY KEY,
    -- `openai:gpt-4o`, for people and metrics.
    model       text NOT NULL,
    version     bigint NOT NULL,
    -- Open periods since it was last closed; 0: closed.
    openings    integer NOT NULL CHECK (openings >= 0),
    since       timestamptz NOT NULL,
    probe_at    timestamptz NOT NULL,
    -- The one probe of the whole fleet, and when it is given up.
    probe_by    uuid,
    probe_until timestamptz,
    CHECK ((probe_by IS NULL) = (probe_until IS NULL)),
    CHECK (probe_by IS NULL OR openings > 0)
);

-- Calls and failures that all processes reported, by second; kept as long as breakers look back.
CREATE UNLOGGED TABLE breaker_tallies (
    circuit  text NOT NULL,
    second   bigint NOT NULL,
    calls    integer NOT NULL,
    failures integer NOT NULL,
    PRIMARY KEY (circuit, second),
    CHECK (0 <= failures AND failures <= calls)
);

-- Calls and retries of a provider in this minute and the one before.
CREATE UNLOGGED TABLE retry_budgets (
    provider       text PRIMARY KEY,
    version        bigint NOT NULL,
    minute         bigint NOT NULL,
    calls          integer NOT NULL,
    retries        integer NOT NULL,
    calls_before   integer NOT NULL,
    retries_before integer NOT NULL
);
