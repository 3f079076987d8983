-- phase: before
-- What the Agent Server API adds to runs, and what it shows of a thread.

-- `interrupted` has ended: the graph asked, and the answer will be another run.
ALTER TABLE runs DROP CONSTRAINT runs_status_check, DROP CONSTRAINT runs_check1;
ALTER TABLE runs
    ADD CONSTRAINT runs_status_check CHECK (status IN
        ('blocked', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled', 'interrupted')),
    ADD CONSTRAINT runs_check1 CHECK ((status IN ('succeeded', 'failed', 'cancelled', 'interrupted')) = (ended_at IS NOT NULL)),
    -- Null for nearly every run, so the hot row stays as narrow as it was. 'rollback': whoever ends the run also erases
    -- what it wrote and deletes it, in that transaction.
    ADD COLUMN cancel_action text CHECK (cancel_action IN ('interrupt', 'rollback'));

ALTER TABLE run_details
    ADD COLUMN assistant_id  uuid,
    -- How the graph is called and streamed, as JSON. Bytes, since a resume value may hold NUL.
    ADD COLUMN options       bytea,
    ADD COLUMN multitask     text NOT NULL DEFAULT 'enqueue'
        CHECK (multitask IN ('reject', 'enqueue', 'interrupt', 'rollback')),
    ADD COLUMN temporary     boolean NOT NULL DEFAULT false,
    ADD COLUMN webhook       text,
    ADD COLUMN cancel_reason text,
    -- The last record of the last claim: a stream that has come this far may end.
    ADD COLUMN last_pos      bigint;
-- Old outputs are forgotten by age.
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;

-- What is shown of a thread. Not in `threads`, whose rows are locked at each step of a run and must stay small.
-- Rows appear with the API or with the first run that ends; who reads joins LEFT.
CREATE TABLE thread_details (
    thread_key       uuid PRIMARY KEY REFERENCES threads (key) ON DELETE CASCADE,
    metadata         jsonb NOT NULL DEFAULT '{}',
    config           jsonb NOT NULL DEFAULT '{}',
    -- How the last run left it; `busy` is not kept but asked of `runs`.
    state            text NOT NULL DEFAULT 'idle' CHECK (state IN ('idle', 'interrupted', 'error')),
    -- The graph's state at `stands_at`. Null when there is none, when it is too large to be kept twice, or when it is not
    -- known: then it is read from the checkpoint.
    values           jsonb,
    stands_at        uuid,
    -- Questions: task id -> [{"id", "value"}], and the checkpoint that asked. Open while the head is there.
    interrupts       jsonb NOT NULL DEFAULT '{}',
    waiting_at       uuid,
    error            jsonb,
    last_pos         bigint NOT NULL DEFAULT 0,
    temporary        boolean NOT NULL DEFAULT false,
    ttl_minutes      double precision CHECK (ttl_minutes > 0),
    ttl_strategy     text CHECK (ttl_strategy IN ('delete', 'keep_latest')),
    expires_at       timestamptz,
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    state_updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((ttl_minutes IS NULL) = (ttl_strategy IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX thread_details_metadata ON thread_details USING gin (metadata jsonb_path_ops);
CREATE INDEX thread_details_updated ON thread_details (updated_at DESC);
CREATE INDEX thread_details_expiring ON thread_details (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX threads_by_time ON threads (created_at DESC, key) WHERE deleted_at IS NULL;
INSERT INTO thread_details (thread_key, updated_at, state_updated_at) SELECT key, created_at, created_at FROM threads;
