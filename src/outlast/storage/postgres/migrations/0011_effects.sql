-- phase: before
-- Writes to the outside: announced before they are made, and what became of each.

-- One row per effect, under the key that it carries for ever. `intent` whose owner is gone is an unknown outcome: nobody
-- else can tell whether the receiver was reached.
CREATE TABLE effects (
    -- SHA-256, hexadecimal: what the receiver gets as its idempotency key.
    key           text PRIMARY KEY CHECK (length(key) = 64),
    -- Where it belongs: the lineage, and a hash (BLAKE2b-128) of LangGraph's namespace of the task. An effect with a key of
    -- the project's own belongs to whoever comes first and is found by its key from anywhere.
    lineage       uuid NOT NULL,
    task          uuid NOT NULL,
    name          text NOT NULL,
    -- The n-th effect of that name in its task; NULL for one with a key of the project's own.
    ordinal       integer,
    business_key  text,
    tenant        text NOT NULL,
    agent         text NOT NULL,
    thread_key    uuid NOT NULL,
    -- Of the arguments, and the arguments as people see them (JSON, cut when long).
    args_hash     uuid NOT NULL,
    arguments     bytea NOT NULL,
    state         text NOT NULL CHECK (state IN ('intent', 'done', 'failed', 'unknown')),
    -- An earlier call with this key may have been applied: what a later one is refused with does not undo that.
    doubtful      boolean NOT NULL DEFAULT false,
    -- The result, or the error that says that nothing was applied.
    body          bytea,
    -- For people: the class and the message of what the last call ended with.
    error         text,
    -- How often the receiver was called with this key.
    calls         integer NOT NULL DEFAULT 1,
    -- The attempt that announced the last call; `errors` is -1 once a person has replayed the run.
    run_id        uuid NOT NULL,
    epoch         integer NOT NULL,
    errors        smallint NOT NULL,
    execution     integer NOT NULL,
    -- What a person said about an unknown outcome, as JSON.
    answer        bytea,
    answered_at   timestamptz,
    begun_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,
    -- From then on the receiver may have forgotten the key, and a call with it would be a new one.
    key_expires_at timestamptz,
    CHECK ((state IN ('done', 'failed')) = (ended_at IS NOT NULL)),
    CHECK ((ordinal IS NULL) = (business_key IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX effects_by_task ON effects (lineage, task);
CREATE INDEX effects_by_thread ON effects (thread_key);
CREATE INDEX effects_by_time ON effects (begun_at DESC);
-- What needs a person, and what upkeep forgets.
CREATE INDEX effects_unknown ON effects (begun_at DESC) WHERE state IN ('intent', 'unknown');
CREATE INDEX effects_ended ON effects (ended_at) WHERE business_key IS NULL;

-- The questions that a task has asked a person about its effects, in order: LangGraph knows its answers by their order
-- only, so a task that is executed again has to ask in the same one.
CREATE TABLE effect_questions (
    lineage    uuid NOT NULL,
    task       uuid NOT NULL,
    position   integer NOT NULL,
    key        text NOT NULL,
    -- How often the receiver had been called by then: an answer is about those calls and no later one.
    calls      integer NOT NULL,
    thread_key uuid NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (lineage, task, position)
);
CREATE INDEX effect_questions_by_thread ON effect_questions (thread_key);
