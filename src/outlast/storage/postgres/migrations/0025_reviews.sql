-- phase: before
-- What was decided about outputs that are not to be believed as they are, and the inputs that agents have seen.

-- One row per decision, in the order of a line of runs. It is written before anything is done about it: whoever goes on
-- after a crash does the same, and counts nothing twice.
CREATE TABLE reviews (
    tenant        text NOT NULL DEFAULT current_tenant(),
    thread_key    uuid NOT NULL,
    lineage       uuid NOT NULL,
    position      integer NOT NULL CHECK (position > 0),
    run_id        uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    epoch         integer NOT NULL,
    -- The state that the output is of.
    checkpoint_id uuid NOT NULL,
    action        text NOT NULL CHECK (action IN ('repair', 'escalate', 'accept', 'fail')),
    -- What a person is asked with, as interrupts are: 32 hexadecimal digits.
    question_id   text CHECK (question_id ~ '^[0-9a-f]{32}$'),
    -- Reasons and the question, as JSON.
    body          bytea NOT NULL,
    -- Of what a person looks at.
    hash          text,
    decision      text CHECK (decision IN ('approve', 'edit', 'reject', 'respond', 'unreadable')),
    reviewed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_at    timestamptz,
    PRIMARY KEY (thread_key, lineage, position),
    CHECK ((action = 'escalate') = (question_id IS NOT NULL))
);
CREATE INDEX reviews_questions ON reviews (question_id) WHERE question_id IS NOT NULL;
CREATE INDEX reviews_of_runs ON reviews (run_id);

-- SimHashes of inputs: near ones differ in few bits, and none can be turned back into its input.
CREATE TABLE input_prints (
    tenant  text NOT NULL DEFAULT current_tenant(),
    agent   text NOT NULL,
    print   bigint NOT NULL,
    -- Whose input it was first: an attempt that is repeated must not find its own.
    lineage uuid NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, agent, print)
);
CREATE INDEX input_prints_newest ON input_prints (tenant, agent, seen_at DESC);

SELECT protect('reviews');
SELECT protect('input_prints');
