-- phase: before
-- What may be spent, what is, and what is reserved for calls under way.

-- Budgets that were set while the program runs. One with the name of a budget of the project replaces it for its tenant.
CREATE TABLE budgets (
    tenant       text NOT NULL DEFAULT current_tenant(),
    name         text NOT NULL,
    per          text NOT NULL CHECK (per IN ('run', 'thread', 'user', 'agent', 'tenant')),
    span         text NOT NULL CHECK (span IN ('day', 'month', 'total')),
    -- US dollars x 1,000,000; NULL: not limited.
    limit_micros bigint CHECK (limit_micros >= 0),
    limit_tokens bigint CHECK (limit_tokens >= 0),
    soft_percent smallint NOT NULL CHECK (soft_percent BETWEEN 1 AND 100),
    on_limit     text NOT NULL CHECK (on_limit IN ('refuse', 'ask')),
    agent        text,
    user_id      text,
    set_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, name),
    CHECK (limit_micros IS NOT NULL OR limit_tokens IS NOT NULL)
);

-- One row per budget, subject and period. Hot: each call changes it twice, so its pages keep room for that.
CREATE TABLE budget_counters (
    tenant          text NOT NULL DEFAULT current_tenant(),
    name            text NOT NULL,
    subject         text NOT NULL,
    -- The first day of the day or month; of a total, 1970-01-01.
    period          date NOT NULL,
    per             text NOT NULL,
    -- The limits that the last reservation was held against: the budget's, and what was raised for this period.
    limit_micros    bigint,
    limit_tokens    bigint,
    soft_percent    smallint NOT NULL DEFAULT 100,
    raised_micros   bigint NOT NULL DEFAULT 0,
    raised_tokens   bigint NOT NULL DEFAULT 0,
    spent_micros    bigint NOT NULL DEFAULT 0,
    spent_tokens    bigint NOT NULL DEFAULT 0,
    reserved_micros bigint NOT NULL DEFAULT 0,
    reserved_tokens bigint NOT NULL DEFAULT 0,
    soft_told       boolean NOT NULL DEFAULT false,
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, name, subject, period)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- What a call under way may take, of each budget that it concerns; gone when it is settled.
CREATE TABLE budget_reservations (
    tenant      text NOT NULL DEFAULT current_tenant(),
    id          uuid NOT NULL,
    name        text NOT NULL,
    subject     text NOT NULL,
    period      date NOT NULL,
    run_id      uuid NOT NULL,
    epoch       integer NOT NULL,
    micros      bigint NOT NULL,
    tokens      bigint NOT NULL,
    reserved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, name)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- Questions about budgets stand in one line with those about effects: LangGraph knows a task's answers by their order.
ALTER TABLE effect_questions
    ADD COLUMN run_id      uuid,
    -- NULL: a question about an effect.
    ADD COLUMN budget      text,
    ADD COLUMN subject     text,
    ADD COLUMN unit        text,
    -- What they were when it was asked.
    ADD COLUMN limit_at    bigint,
    ADD COLUMN spent_at    bigint,
    ADD COLUMN resets_at   timestamptz,
    -- When the budget had been raised, and the run was told to go on.
    ADD COLUMN released_at timestamptz;
CREATE INDEX effect_questions_of_budgets ON effect_questions (tenant, budget)
    WHERE budget IS NOT NULL AND released_at IS NULL;
