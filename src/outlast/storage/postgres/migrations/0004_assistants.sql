-- phase: before
-- Assistants: a graph with a configuration of its own, versioned. And what a rollback puts back.

CREATE TABLE assistants (
    id          uuid PRIMARY KEY,
    tenant      text NOT NULL DEFAULT 'default',
    graph_id    text NOT NULL,
    name        text NOT NULL,
    description text,
    config      jsonb NOT NULL DEFAULT '{}',
    context     jsonb NOT NULL DEFAULT '{}',
    metadata    jsonb NOT NULL DEFAULT '{}',
    version     integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX assistants_metadata ON assistants USING gin (metadata jsonb_path_ops);
CREATE INDEX assistants_by_graph ON assistants (graph_id, created_at DESC);
CREATE INDEX assistants_by_time ON assistants (created_at DESC, id);

-- Never changed: `assistants.version` points at one, going back points at an older one.
CREATE TABLE assistant_versions (
    assistant_id uuid NOT NULL REFERENCES assistants (id) ON DELETE CASCADE,
    version      integer NOT NULL,
    graph_id     text NOT NULL,
    name         text NOT NULL,
    description  text,
    config       jsonb NOT NULL,
    context      jsonb NOT NULL,
    metadata     jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (assistant_id, version)
);

-- What tasks had written at the place where a thread stood, when a run was admitted that goes on from there: the run adds to
-- it (answers, outputs of tasks), and a rollback has to take that away again. No row of `task_id` for a place without any.
CREATE TABLE writes_before (
    run_id        uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    thread_key    uuid NOT NULL,
    ns            text NOT NULL,
    checkpoint_id uuid NOT NULL,
    task_id       bytea,
    idx           smallint,
    count         integer,
    epoch         integer,
    task_path     text,
    body          bytea
);
CREATE INDEX writes_before_by_run ON writes_before (run_id);
CREATE INDEX writes_before_by_thread ON writes_before (thread_key);
