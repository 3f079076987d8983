-- phase: before
-- Encryption at rest: a key for each tenant, wrapped by a master key that is not in the database.

CREATE TABLE data_keys (
    id uuid PRIMARY KEY,
    -- '' is the key of what belongs to no tenant.
    tenant text NOT NULL DEFAULT current_tenant(),
    wrapped bytea NOT NULL,
    -- The master key that has wrapped it, by its name.
    master text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- From here on it only opens what it has sealed.
    retired_at timestamptz,
    -- Everything that is kept has been sealed anew with a later key.
    emptied_at timestamptz,
    CHECK (emptied_at IS NULL OR retired_at IS NOT NULL)
);
CREATE UNIQUE INDEX data_keys_active ON data_keys (tenant) WHERE retired_at IS NULL;

-- Whether this database is encrypted: no row, it is not; 'enabling': what is plain is still to be expected. And how far a
-- walk through all rows has come that seals them anew.
CREATE TABLE encryption (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    state text NOT NULL CHECK (state IN ('enabling', 'on')),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    walk_began_at timestamptz,
    -- Number of the column that the walk is in, and the key of the last row that it has looked at.
    walk_column integer NOT NULL DEFAULT 0,
    walk_after text[],
    -- Somebody else had a row, or there was something to do: another walk has to look again.
    walk_missed bigint NOT NULL DEFAULT 0
);

-- How long the events of a run are kept was read from its options, which nobody can read once they are encrypted.
ALTER TABLE run_details ADD COLUMN resumable boolean;
