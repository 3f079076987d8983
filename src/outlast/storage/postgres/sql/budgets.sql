-- Budgets: what is set, what is spent, and what is reserved for calls under way.
-- `spent + reserved <= limit` at every instant: a reservation is made only where it fits, under the locks of all counters
-- that it concerns, and what is settled takes the place of what was reserved.

-- part: asked
-- The counters that a call concerns, with the limits of this moment: what was set in the database goes before what the
-- process knows, so that a raised limit counts at once.
asked AS MATERIALIZED (
    SELECT a.name, a.subject, a.span, a.per,
           CASE a.span WHEN 'total' THEN DATE 'epoch'
               ELSE date_trunc(a.span, clock_timestamp() AT TIME ZONE %(zone)s)::date END AS period,
           CASE WHEN b.name IS NULL THEN a.limit_micros ELSE b.limit_micros END AS limit_micros,
           CASE WHEN b.name IS NULL THEN a.limit_tokens ELSE b.limit_tokens END AS limit_tokens,
           coalesce(b.soft_percent, a.soft_percent) AS soft_percent
    FROM unnest(
        %(names)s::text[], %(subjects)s::text[], %(spans)s::text[], %(pers)s::text[], %(limits_micros)s::bigint[],
        %(limits_tokens)s::bigint[], %(softs)s::smallint[]
    ) AS a (name, subject, span, per, limit_micros, limit_tokens, soft_percent)
    LEFT JOIN budgets b ON b.tenant = current_tenant() AND b.name = a.name
)

-- part: standing
-- One line for each counter that was asked for; one that nobody has used yet stands at nothing.
SELECT a.name, a.subject, a.period, a.limit_micros + coalesce(c.raised_micros, 0) AS limit_micros,
       a.limit_tokens + coalesce(c.raised_tokens, 0) AS limit_tokens, coalesce(c.spent_micros, 0) AS spent_micros,
       coalesce(c.spent_tokens, 0) AS spent_tokens, coalesce(c.reserved_micros, 0) AS reserved_micros,
       coalesce(c.reserved_tokens, 0) AS reserved_tokens,
       CASE WHEN a.span <> 'total'
           THEN (a.period + ('1 ' || a.span)::interval) AT TIME ZONE %(zone)s END AS resets_at,

-- name: rules
-- What was set for this tenant.
SELECT name, per, span, limit_micros, limit_tokens, soft_percent, on_limit, agent, user_id
FROM budgets WHERE tenant = current_tenant() ORDER BY name;

-- name: standings
WITH
--include asked
--include standing
       c.name IS NOT NULL AS known
FROM asked a
LEFT JOIN budget_counters c
    ON c.tenant = current_tenant() AND c.name = a.name AND c.subject = a.subject AND c.period = a.period;

-- name: reserve
-- All of the budgets, or none. Counters are locked in one order, so that no two calls wait for each other, and read under
-- the lock. The run's row is not locked: a reservation that slips in behind a raised epoch is found and released like
-- those of the dead.
-- New figures are made of those that were read under the lock: an UPDATE begins with the row as it was at the beginning
-- of the statement, and a CHECK would judge by that before PostgreSQL notices that there is a newer one.
-- The answer says of each counter where it stands, and in the last column whether it is there at all.
WITH fence AS MATERIALIZED (
    SELECT id FROM runs WHERE id = %(run_id)s AND epoch = %(epoch)s AND status = 'running'
),
--include asked
, locked AS MATERIALIZED (
    SELECT c.*, a.limit_micros + c.raised_micros AS allowed_micros, a.limit_tokens + c.raised_tokens AS allowed_tokens,
           a.soft_percent AS soft
    FROM asked a
    JOIN budget_counters c
        ON c.tenant = current_tenant() AND c.name = a.name AND c.subject = a.subject AND c.period = a.period
    ORDER BY c.name, c.subject, c.period
    FOR UPDATE OF c
), verdict AS MATERIALIZED (
    SELECT count(*) = cardinality(%(names)s::text[]) AND EXISTS (SELECT FROM fence)
           AND bool_and(coalesce(spent_micros + reserved_micros + %(micros)s <= allowed_micros, true)
                        AND coalesce(spent_tokens + reserved_tokens + %(tokens)s <= allowed_tokens, true)) AS fits
    FROM locked
), taken AS (
    UPDATE budget_counters c
    SET reserved_micros = l.reserved_micros + %(micros)s, reserved_tokens = l.reserved_tokens + %(tokens)s,
        limit_micros = l.allowed_micros, limit_tokens = l.allowed_tokens, soft_percent = l.soft,
        changed_at = clock_timestamp()
    FROM locked l, verdict v
    WHERE v.fits AND c.tenant = l.tenant AND c.name = l.name AND c.subject = l.subject AND c.period = l.period
    RETURNING c.name, c.subject, c.period
), reserved AS (
    INSERT INTO budget_reservations (id, name, subject, period, run_id, epoch, micros, tokens)
    SELECT %(id)s, name, subject, period, %(run_id)s, %(epoch)s, %(micros)s, %(tokens)s FROM taken
), standings AS (
--include standing
           c.name IS NOT NULL AS known
    FROM asked a
    LEFT JOIN locked c ON c.name = a.name AND c.subject = a.subject AND c.period = a.period
)
SELECT s.*, coalesce(v.fits, false), EXISTS (SELECT FROM fence) FROM standings s CROSS JOIN verdict v;

-- name: create
-- The first call of a period. In the order of names, as above.
WITH
--include asked
INSERT INTO budget_counters (name, subject, period, per)
SELECT name, subject, period, per FROM asked ORDER BY name, subject, period
ON CONFLICT (tenant, name, subject, period) DO NOTHING;

-- part: charge
-- What became of reservations that are `gone`: what was spent takes the place of what was reserved. What crossed its soft
-- limit by that, or its limit, is told.
sums AS (
    SELECT tenant, name, subject, period, sum(reserved_micros)::bigint AS freed_micros,
           sum(reserved_tokens)::bigint AS freed_tokens, sum(micros)::bigint AS micros, sum(tokens)::bigint AS tokens
    FROM gone GROUP BY tenant, name, subject, period
), locked AS MATERIALIZED (
    SELECT c.tenant, c.name, c.subject, c.period, c.soft_told, c.spent_micros + s.micros AS spent_micros,
           c.spent_tokens + s.tokens AS spent_tokens, c.reserved_micros - s.freed_micros AS reserved_micros,
           c.reserved_tokens - s.freed_tokens AS reserved_tokens,
           coalesce((c.spent_micros + s.micros) * 100 >= c.limit_micros * c.soft_percent, false)
           OR coalesce((c.spent_tokens + s.tokens) * 100 >= c.limit_tokens * c.soft_percent, false) AS soft
    FROM sums s
    JOIN budget_counters c USING (tenant, name, subject, period)
    ORDER BY c.tenant, c.name, c.subject, c.period
    FOR UPDATE OF c
), charged AS (
    UPDATE budget_counters c
    SET spent_micros = l.spent_micros, spent_tokens = l.spent_tokens,
        reserved_micros = l.reserved_micros, reserved_tokens = l.reserved_tokens,
        soft_told = l.soft_told OR l.soft, changed_at = clock_timestamp()
    FROM locked l
    WHERE c.tenant = l.tenant AND c.name = l.name AND c.subject = l.subject AND c.period = l.period
    RETURNING c.tenant, c.name, c.subject, l.soft AND NOT l.soft_told AS soft,
              coalesce(c.spent_micros > c.limit_micros, false) OR coalesce(c.spent_tokens > c.limit_tokens, false) AS over
)

-- name: settle
-- Of all tenants, in one statement. NULL: nobody knows what the call took, so it is charged as it was reserved. Safe to
-- send again, and too late for what recovery has released: a reservation is found once.
WITH gone AS (
    DELETE FROM budget_reservations r
    USING unnest(%(ids)s::uuid[], %(micros)s::bigint[], %(tokens)s::bigint[]) AS g (id, micros, tokens)
    WHERE r.id = g.id
    RETURNING r.tenant, r.name, r.subject, r.period, r.micros AS reserved_micros, r.tokens AS reserved_tokens,
              coalesce(g.micros, r.micros) AS micros, coalesce(g.tokens, r.tokens) AS tokens
),
--include charge
SELECT tenant, name, subject, soft, over FROM charged WHERE soft OR over;

-- name: release
-- Reservations whose attempt is over: its process died before it could settle them. What a provider had been asked by then
-- may have been billed, and nobody says how much: it is charged as it was reserved.
-- SKIP LOCKED: an attempt that is settling it right now knows better.
WITH lost AS MATERIALIZED (
    SELECT r.id, r.name FROM budget_reservations r
    WHERE NOT EXISTS (SELECT FROM runs u WHERE u.id = r.run_id AND u.epoch = r.epoch AND u.status = 'running')
    LIMIT %(limit)s
    FOR UPDATE OF r SKIP LOCKED
), gone AS (
    DELETE FROM budget_reservations r USING lost l WHERE r.id = l.id AND r.name = l.name
    RETURNING r.id, r.tenant, r.name, r.subject, r.period, r.micros AS reserved_micros, r.tokens AS reserved_tokens,
              r.micros, r.tokens
),
--include charge
SELECT c.tenant, c.name, c.subject, c.soft, c.over, (SELECT count(DISTINCT id) FROM gone) FROM charged c;

-- name: set
INSERT INTO budgets AS b (name, per, span, limit_micros, limit_tokens, soft_percent, on_limit, agent, user_id)
VALUES (%(name)s, %(per)s, %(span)s, %(limit_micros)s, %(limit_tokens)s, %(soft_percent)s, %(on_limit)s, %(agent)s, %(user)s)
ON CONFLICT (tenant, name) DO UPDATE SET
    per = EXCLUDED.per, span = EXCLUDED.span, limit_micros = EXCLUDED.limit_micros, limit_tokens = EXCLUDED.limit_tokens,
    soft_percent = EXCLUDED.soft_percent, on_limit = EXCLUDED.on_limit, agent = EXCLUDED.agent,
    user_id = EXCLUDED.user_id, set_at = EXCLUDED.set_at;

-- name: remove
DELETE FROM budgets WHERE tenant = current_tenant() AND name = %(name)s RETURNING name;

-- name: raise_limit
-- For the present period of one subject. A counter that is above its soft limit no more may tell of it again.
WITH
--include asked
INSERT INTO budget_counters AS c (name, subject, period, per, raised_micros, raised_tokens)
SELECT name, subject, period, per, %(micros)s, %(tokens)s FROM asked
ON CONFLICT (tenant, name, subject, period) DO UPDATE SET
    raised_micros = c.raised_micros + EXCLUDED.raised_micros, raised_tokens = c.raised_tokens + EXCLUDED.raised_tokens,
    limit_micros = c.limit_micros + EXCLUDED.raised_micros, limit_tokens = c.limit_tokens + EXCLUDED.raised_tokens,
    soft_told = false, changed_at = clock_timestamp();

-- name: subjects
-- Who has used a budget in its present period, those who have spent most first.
WITH
--include asked
SELECT c.subject FROM asked a
JOIN budget_counters c ON c.tenant = current_tenant() AND c.name = a.name AND c.period = a.period
ORDER BY c.spent_micros DESC, c.spent_tokens DESC, c.subject
LIMIT %(limit)s;

-- name: ask
-- Written down before the question is asked, and found at its place when the task is executed again.
WITH fence AS MATERIALIZED (
    SELECT id FROM runs WHERE id = %(run_id)s AND epoch = %(epoch)s AND status = 'running'
    FOR SHARE
)
INSERT INTO effect_questions AS q
    (lineage, task, position, key, calls, thread_key, run_id, budget, subject, unit, limit_at, spent_at, resets_at)
SELECT %(lineage)s, %(task)s, %(position)s, %(key)s, 0, %(thread_key)s, fence.id, %(budget)s, %(subject)s, %(unit)s,
       %(limit)s, %(spent)s, %(resets_at)s
FROM fence
ON CONFLICT (lineage, task, position) DO UPDATE SET key = EXCLUDED.key WHERE q.key = EXCLUDED.key
RETURNING q.position;

-- name: waiting
-- Runs that wait for this budget, or have ended with the question about it; the oldest question first. `subject` NULL:
-- whoever it is.
SELECT q.run_id, min(q.asked_at) AS since FROM effect_questions q
JOIN runs r ON r.id = q.run_id AND r.status IN ('waiting', 'interrupted')
WHERE q.tenant = current_tenant() AND q.budget = %(budget)s AND q.released_at IS NULL
  AND (%(subject)s::text IS NULL OR q.subject = %(subject)s)
GROUP BY q.run_id
ORDER BY since
LIMIT %(limit)s;

-- name: released
UPDATE effect_questions SET released_at = clock_timestamp()
WHERE tenant = current_tenant() AND budget = %(budget)s AND run_id = %(run_id)s AND released_at IS NULL;

-- name: owner
-- On whose behalf the run was asked for.
SELECT user_id, key_id FROM run_details WHERE run_id = %(run_id)s;
