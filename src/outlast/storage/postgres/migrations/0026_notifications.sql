-- phase: before
-- What people are told when somebody has to look: the outbox, and the messages that go out of it.

-- Written in the transaction that asks, assigns, expires or fails. Ids and names only: what a message says is read when it
-- is sent, so that nothing is told that was erased, or answered, meanwhile.
CREATE TABLE notifications (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant      text NOT NULL DEFAULT current_tenant(),
    -- What happened, once: `asked:<question>`, `failed:<run>:<epoch>`.
    key         text NOT NULL,
    event       text NOT NULL CHECK (event IN ('asked', 'assigned', 'overdue', 'expired', 'failed')),
    run_id      uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    -- NULL: of a run that failed.
    question_id uuid,
    agent       text NOT NULL,
    -- Of the question; of a failed run, the code of its error.
    kind        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When it was decided which channels are told.
    routed_at   timestamptz,
    UNIQUE (tenant, key),
    CHECK ((event = 'failed') = (question_id IS NULL))
);
CREATE INDEX notifications_new ON notifications (created_at) WHERE routed_at IS NULL;
CREATE INDEX notifications_over ON notifications (routed_at) WHERE routed_at IS NOT NULL;
CREATE INDEX notifications_by_run ON notifications (run_id);

-- One message to one channel, about one notification or, in a storm, about many. The receiver sees one id, however often
-- it is sent.
CREATE TABLE notification_messages (
    id         uuid PRIMARY KEY,
    tenant     text NOT NULL DEFAULT current_tenant(),
    channel    text NOT NULL,
    -- What it is about, as receivers know it that open and close things: `question:<id>`, `run:<id>`, of many `message:<id>`.
    key        text NOT NULL,
    grouped    boolean NOT NULL DEFAULT false,
    -- dropped: nobody had to look any more when it was its turn.
    state      text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed', 'dropped')),
    -- At a channel that holds incidents open: it is open, it is about to be closed, it is closed.
    incident   text CHECK (incident IN ('open', 'closing', 'closed')),
    attempts   integer NOT NULL DEFAULT 0,
    -- Also the lease of a sender: nobody else takes the row before this.
    due_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When it was sent, given up or dropped.
    ended_at   timestamptz,
    CHECK ((state = 'pending') = (ended_at IS NULL))
);
CREATE INDEX notification_messages_due ON notification_messages (due_at) WHERE state = 'pending';
-- How many a channel got lately.
CREATE INDEX notification_messages_lately ON notification_messages (tenant, channel, created_at);
CREATE INDEX notification_messages_open ON notification_messages (ended_at) WHERE incident = 'open';
CREATE INDEX notification_messages_over ON notification_messages (ended_at) WHERE state <> 'pending';

-- What a message is about: each notification once for each channel.
CREATE TABLE notification_items (
    tenant          text NOT NULL DEFAULT current_tenant(),
    notification_id uuid NOT NULL REFERENCES notifications (id) ON DELETE CASCADE,
    channel         text NOT NULL,
    message_id      uuid NOT NULL REFERENCES notification_messages (id) ON DELETE CASCADE,
    PRIMARY KEY (notification_id, channel)
);
CREATE INDEX notification_items_by_message ON notification_items (message_id);

SELECT protect('notifications');
SELECT protect('notification_messages');
SELECT protect('notification_items');
