-- phase: before
-- Alerts: what is not as it should be, who was told, and who wants to hear no more of it.

-- One row from the first moment that a rule's condition holds for a subject until it has been over for a while. Figures and
-- names of agents, models, budgets and loops; nothing of what users said, and no ids of theirs.
CREATE TABLE alerts (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- Whom it concerns; what concerns the installation as a whole belongs to the default tenant.
    tenant          text NOT NULL DEFAULT current_tenant(),
    rule            text NOT NULL,
    -- What of it, made of the labels: `agent=support`; empty: there is only one.
    subject         text NOT NULL,
    labels          jsonb NOT NULL DEFAULT '{}',
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    -- pending: the condition holds, not for long enough yet; such a row goes when it does not any more.
    state           text NOT NULL CHECK (state IN ('pending', 'firing', 'resolved')),
    value           double precision,
    text            text NOT NULL,
    started_at      timestamptz NOT NULL,
    fired_at        timestamptz,
    -- Since when the condition does not hold any more, although it fires.
    clear_since     timestamptz,
    resolved_at     timestamptz,
    -- When people were last told, how often, of what severity, and under which id: what was told together stays together.
    notified_at     timestamptz,
    notices         integer NOT NULL DEFAULT 0,
    told_severity   text CHECK (told_severity IN ('info', 'warning', 'error')),
    told_as         uuid,
    acknowledged_at timestamptz,
    acknowledged_by text,
    CHECK ((state = 'pending') = (fired_at IS NULL)),
    CHECK ((state = 'resolved') = (resolved_at IS NOT NULL)),
    CHECK ((notices = 0) = (told_as IS NULL)),
    -- Who it was is forgotten when they are.
    CHECK (acknowledged_at IS NOT NULL OR acknowledged_by IS NULL)
);
-- One fault is one alert.
CREATE UNIQUE INDEX alerts_open ON alerts (tenant, rule, subject) WHERE state <> 'resolved';
CREATE INDEX alerts_over ON alerts (resolved_at) WHERE state = 'resolved';
CREATE INDEX alerts_of_tenant ON alerts (tenant, started_at DESC, id);

-- Whoever has put a rule to silence is not told of it until then.
CREATE TABLE alert_silences (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant      text NOT NULL DEFAULT current_tenant(),
    -- `*`: all of the tenant's.
    rule        text NOT NULL,
    -- Of one subject only; NULL: all of the rule's.
    subject     text,
    why         text NOT NULL,
    -- NULL: they were forgotten.
    silenced_by text,
    began_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    until_at    timestamptz NOT NULL,
    CHECK (until_at >= began_at)
);
CREATE INDEX alert_silences_by_end ON alert_silences (until_at);

-- Who looks next: one process at a time raises the number, and what is decided counts under that number only.
CREATE TABLE alert_clock (
    is_it        boolean PRIMARY KEY DEFAULT true CHECK (is_it),
    round        bigint NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When a round was last brought to its end: that somebody looks at all shows here.
    evaluated_at timestamptz,
    heartbeat_at timestamptz
);
INSERT INTO alert_clock DEFAULT VALUES;

-- What processes notice and no other table knows, counted by minute: loops that fail, leases that are lost.
CREATE TABLE alert_signals (
    tenant text NOT NULL DEFAULT current_tenant(),
    name   text NOT NULL,
    -- The loop, the budget; empty: there is only one.
    subject text NOT NULL,
    minute timestamptz NOT NULL,
    count  bigint NOT NULL,
    PRIMARY KEY (minute, tenant, name, subject)
);

-- The few counters that are spent beyond their soft limit. The flag changes once in a period, so this index costs the
-- counters nothing: they are still changed in place.
CREATE INDEX budget_counters_soft ON budget_counters (name, period) WHERE soft_told;

-- Alerts go out of the outbox of notifications, like everything that people are told.
ALTER TABLE notifications
    ALTER COLUMN run_id DROP NOT NULL,
    -- What is told together, and the id under which it is known at receivers.
    ADD COLUMN alerts uuid[],
    ADD COLUMN alert_group uuid,
    -- NULL: it follows from the event and the kind.
    ADD COLUMN severity text CHECK (severity IN ('info', 'warning', 'error')),
    DROP CONSTRAINT notifications_event_check,
    DROP CONSTRAINT notifications_check,
    ADD CONSTRAINT notifications_event_check
        CHECK (event IN ('asked', 'assigned', 'overdue', 'expired', 'failed', 'alert', 'recovered')),
    ADD CONSTRAINT notifications_about_check CHECK (
        CASE WHEN event IN ('alert', 'recovered')
             THEN run_id IS NULL AND question_id IS NULL AND alerts IS NOT NULL AND alert_group IS NOT NULL
             ELSE run_id IS NOT NULL AND alerts IS NULL AND (event = 'failed') = (question_id IS NULL) END);

SELECT protect('alerts');
SELECT protect('alert_silences');
SELECT protect('alert_signals');
