-- phase: before
-- What runs were like, in figures, and what is not as usual about them.

-- One row for each end of a run (a failed one that is replayed ends again, under a later epoch), written once a second in
-- batches. Figures and names only. No foreign key: a row outlives the run of a temporary thread, since service levels are
-- computed from 30 days of them.
CREATE TABLE run_observations (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant             text NOT NULL DEFAULT current_tenant(),
    agent              text NOT NULL,
    -- The one that was used most; '': none was.
    model              text NOT NULL DEFAULT '',
    run_id             uuid NOT NULL,
    epoch              integer NOT NULL,
    -- Up to two seconds after the end itself.
    ended_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    status             text NOT NULL CHECK (status IN ('success', 'error', 'cancelled')),
    error_class        text,
    -- Characters; NULL: nothing was looked at.
    output_length      integer,
    -- From 0 to 1.
    confidence         double precision,
    -- Of the attempt that ended the run, as all that follows but for total_seconds.
    tokens             bigint NOT NULL DEFAULT 0,
    cost_usd           double precision NOT NULL DEFAULT 0,
    seconds            double precision NOT NULL,
    -- From when it was ready to be claimed.
    first_byte_seconds double precision,
    queued_seconds     double precision,
    -- From the creation of the run, waiting for people included.
    total_seconds      double precision NOT NULL DEFAULT 0,
    model_calls        integer NOT NULL DEFAULT 0,
    tool_calls         integer NOT NULL DEFAULT 0,
    tool_errors        integer NOT NULL DEFAULT 0,
    retries            integer NOT NULL DEFAULT 0,
    fallbacks          integer NOT NULL DEFAULT 0,
    refused            boolean NOT NULL DEFAULT false,
    empty              boolean NOT NULL DEFAULT false,
    invalid            boolean NOT NULL DEFAULT false,
    -- SimHashes, forgotten as soon as the row was judged.
    output_print       bigint,
    input_print        bigint,
    -- Whether the row has been compared with what is usual.
    judged             boolean NOT NULL DEFAULT false,
    UNIQUE (run_id, epoch)
);
CREATE INDEX run_observations_new ON run_observations (id) WHERE NOT judged;
CREATE INDEX run_observations_by_time ON run_observations (ended_at);
CREATE INDEX run_observations_of_agent ON run_observations (tenant, agent, ended_at);

-- What is usual for an agent with a model, learned from its healthy runs. Changed in the transaction that says which rows
-- were judged, so each run counts once.
CREATE TABLE anomaly_baselines (
    tenant     text NOT NULL DEFAULT current_tenant(),
    agent      text NOT NULL,
    model      text NOT NULL,
    -- Rolling windows of figures and of SimHashes, no names and no content.
    state      jsonb NOT NULL,
    -- How many runs it has seen.
    runs       bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, agent, model)
);
CREATE INDEX anomaly_baselines_by_time ON anomaly_baselines (changed_at);

-- One row for each fault, however many runs show it.
CREATE TABLE anomalies (
    id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant    text NOT NULL DEFAULT current_tenant(),
    agent     text NOT NULL,
    model     text NOT NULL,
    kind      text NOT NULL,
    -- The run that showed it; NULL once that was erased.
    run_id    uuid,
    found_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When it was as usual again, or what was found had become usual.
    ended_at  timestamptz,
    ended_as  text CHECK (ended_as IN ('normal', 'usual', 'silent')),
    severity  text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    -- In plain words; figures, and codes of errors.
    text      text NOT NULL,
    value     double precision,
    expected  double precision,
    -- How many runs were unlike the usual since it was found, that one included.
    seen_runs integer NOT NULL DEFAULT 1,
    CHECK ((ended_at IS NULL) = (ended_as IS NULL))
);
-- One fault is one finding.
CREATE UNIQUE INDEX anomalies_open ON anomalies (tenant, agent, model, kind) WHERE ended_at IS NULL;
CREATE INDEX anomalies_by_time ON anomalies (found_at, id);
CREATE INDEX anomalies_by_run ON anomalies (run_id);

SELECT protect('run_observations');
SELECT protect('anomaly_baselines');
SELECT protect('anomalies');
