-- phase: before
-- Kill switches, and runs that a policy holds back.

-- A row means off; what is on has none. `tenant` is '*' for all tenants. Read whole, by every process, once a second.
CREATE TABLE switches (
    tenant text NOT NULL DEFAULT current_tenant(),
    kind text NOT NULL CHECK (kind IN ('tenant', 'agent', 'tool')),
    -- Of the agent or the tool; empty for a whole tenant.
    name text NOT NULL,
    reason text NOT NULL,
    off_by text,
    off_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, kind, name),
    CHECK ((kind = 'tenant') = (name = ''))
);

-- The tool at whose switch the run stopped: it is not claimed again while that is off.
ALTER TABLE run_details ADD COLUMN held_by text;
CREATE INDEX run_details_held ON run_details (held_by) WHERE held_by IS NOT NULL;

-- What a person has to say yes to before the run begins for the first time: {"policy": ..., "question": ...}.
ALTER TABLE run_details ADD COLUMN approval jsonb;

-- Whether a queued run is held back by a switch. A function, since all that look for what may run next ask it, and only
-- where there is any switch at all.
CREATE FUNCTION is_switched_off(of_tenant text, of_agent text, run uuid) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT EXISTS (
        SELECT FROM switches s
        WHERE s.tenant IN (of_tenant, '*')
          AND (s.kind = 'tenant'
               OR s.kind = 'agent' AND s.name = of_agent
               OR s.kind = 'tool' AND s.name = (SELECT d.held_by FROM run_details d WHERE d.run_id = run))
    )
$$;
