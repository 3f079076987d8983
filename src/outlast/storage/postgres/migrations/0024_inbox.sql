-- phase: before
-- Questions to people: what was asked, on which terms, and who has answered.

-- One row per question of a run that waits. Whether it can still be answered is told by where its run and its thread stand
-- (`inbox.sql`, part `open`); `status` is what was written down.
CREATE TABLE questions (
    id            uuid PRIMARY KEY,
    tenant        text NOT NULL DEFAULT current_tenant(),
    run_id        uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    thread_key    uuid NOT NULL,
    agent         text NOT NULL,
    -- The attempt that asked last: a question that is asked again in the same words keeps its row.
    epoch         integer NOT NULL,
    -- LangGraph's id; the same for everything that one task asks.
    interrupt_id  text NOT NULL,
    kind          text NOT NULL,
    -- The value of the interrupt. NULL: a run that a policy wants a person to see before it begins, see `run_details.approval`.
    value         bytea,
    -- SHA-256, hexadecimal: of what is approved.
    hash          text NOT NULL CHECK (length(hash) = 64),
    allowed       text[] NOT NULL,
    requester     text,
    assignee      text,
    needs         smallint NOT NULL DEFAULT 1 CHECK (needs IN (1, 2)),
    not_requester boolean NOT NULL DEFAULT false,
    -- The checkpoint that asked.
    waiting_at    uuid,
    asked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at        timestamptz,
    -- When expiry looks at it next.
    look_at       timestamptz,
    -- How often it was told that nobody has answered in time.
    reminders     integer NOT NULL DEFAULT 0,
    -- What is decided when nobody does.
    default_decision text CHECK (default_decision IN ('approve', 'edit', 'reject', 'respond')),
    status        text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'answered', 'expired', 'withdrawn')),
    decision      text CHECK (decision IN ('approve', 'edit', 'reject', 'respond')),
    answered_by   text,
    -- When it was answered, expired or was withdrawn.
    answered_at   timestamptz,
    -- The decision with its value, as JSON.
    answer        bytea,
    UNIQUE (run_id, epoch, interrupt_id),
    CHECK ((status = 'open') = (answered_at IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX questions_open ON questions (thread_key) WHERE status = 'open';
CREATE INDEX questions_due ON questions (look_at) WHERE status = 'open' AND look_at IS NOT NULL;
CREATE INDEX questions_of_tenant ON questions (tenant, status, asked_at DESC, id DESC);
CREATE INDEX questions_by_thread ON questions (thread_key, asked_at DESC);
SELECT protect('questions');

-- What people say about a question before it is answered: comments, and the first of two votes.
CREATE TABLE question_notes (
    id          uuid PRIMARY KEY,
    tenant      text NOT NULL DEFAULT current_tenant(),
    question_id uuid NOT NULL REFERENCES questions (id) ON DELETE CASCADE,
    kind        text NOT NULL CHECK (kind IN ('comment', 'vote')),
    author      text,
    -- A text, or of a vote the decision as JSON.
    body        bytea NOT NULL,
    said_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX question_notes_of_question ON question_notes (question_id, said_at);
CREATE UNIQUE INDEX question_notes_one_vote ON question_notes (question_id, author) WHERE kind = 'vote';
SELECT protect('question_notes');
