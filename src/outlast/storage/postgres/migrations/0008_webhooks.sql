-- phase: before
-- Reports of ended runs, answers to feedback addresses, and the keys that all processes share.

-- Written in the transaction that ends the run, sent afterwards, as often as it takes; the receiver sees one id.
CREATE TABLE webhook_deliveries (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    run_id       uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    epoch        integer NOT NULL,
    url          text NOT NULL,
    state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts     integer NOT NULL DEFAULT 0,
    -- Also the lease of a sender: nobody else takes the row before this.
    due_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_error   text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at timestamptz,
    UNIQUE (run_id, epoch),
    CHECK ((state = 'delivered') = (delivered_at IS NOT NULL))
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'pending';

-- Sent to the signed addresses that a run's stream named for its `feedback_keys`.
CREATE TABLE run_feedback (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    run_id     uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key        text NOT NULL,
    score      double precision,
    -- Any JSON, as it was sent.
    value      bytea,
    comment    text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX run_feedback_by_run ON run_feedback (run_id);

-- Random keys that all processes of this database share: whoever needs one first makes it.
CREATE TABLE secrets (
    name       text PRIMARY KEY,
    value      bytea NOT NULL CHECK (length(value) >= 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
