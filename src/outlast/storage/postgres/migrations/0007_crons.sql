-- phase: before
-- Runs that a clock starts.

CREATE TABLE crons (
    id               uuid PRIMARY KEY,
    tenant           text NOT NULL DEFAULT 'default',
    assistant_id     uuid NOT NULL REFERENCES assistants (id) ON DELETE CASCADE,
    -- Null: each tick gets a thread of its own.
    thread_key       uuid REFERENCES threads (key),
    user_id          text,
    schedule         text NOT NULL,
    timezone         text,
    end_at           timestamptz,
    enabled          boolean NOT NULL DEFAULT true,
    -- Null: there is no further tick.
    next_run_at      timestamptz,
    -- The body of the run that each tick creates, as it was sent; and what it came to, which the run is made of. JSON in
    -- bytes, since an input may hold NUL.
    payload          bytea NOT NULL,
    template         bytea NOT NULL,
    metadata         jsonb NOT NULL DEFAULT '{}',
    on_run_completed text CHECK (on_run_completed IN ('delete', 'keep')),
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX crons_due ON crons (next_run_at) WHERE enabled AND next_run_at IS NOT NULL;
CREATE INDEX crons_by_thread ON crons (thread_key) WHERE thread_key IS NOT NULL;
CREATE INDEX crons_by_assistant ON crons (assistant_id);
CREATE INDEX crons_by_time ON crons (created_at DESC, id);
CREATE INDEX crons_metadata ON crons USING gin (metadata jsonb_path_ops);
