-- Counts for service levels. What runs were like is in run_observations; what has no row there (crashes, runs that recovery
-- failed) is in the tables of runs. Every figure is of all tenants.

-- name: claim
-- One process counts at a time: who comes sooner than `every` after the last one gets no row. The first one begins with
-- what an error budget looks back on.
INSERT INTO slo_rollups AS r (print, rolled_to)
VALUES (%(print)s, clock_timestamp() - make_interval(days => %(days)s))
ON CONFLICT (print) DO UPDATE SET rolled_at = clock_timestamp()
WHERE r.rolled_at < clock_timestamp() - make_interval(secs => %(every)s)
RETURNING r.print;

-- name: roll_up
-- Count whole slots anew from the last that was counted on, at most an hour of them; so doing it twice changes nothing, and
-- two processes at once do no harm. What is known only later (that nobody has told of an end, that nobody goes on) counts
-- when it is known, so that no slot has to be looked at again. Good and bad ones only
-- grow: a failed run that is replayed has failed all the same, and Prometheus takes a smaller count for a restart. Returns
-- whether there is more to count.
WITH behind AS MATERIALIZED (
    -- What is written at this moment is visible a minute later.
    SELECT date_bin('5 minutes', r.rolled_to - interval '1 minute', 'epoch') AS since
    FROM slo_rollups r WHERE r.print = %(print)s
), span AS MATERIALIZED (
    SELECT s.since, least(clock_timestamp(), s.since + interval '1 hour') AS until
    FROM behind b CROSS JOIN LATERAL (
        -- Hours in which nothing has happened are passed over: a look into the index each.
        SELECT greatest(b.since, date_bin('5 minutes', least(
            (SELECT min(ended_at) FROM run_observations WHERE ended_at >= b.since),
            (SELECT min(ended_at) FROM run_attempts WHERE kind = 'crash' AND ended_at >= b.since - interval '5 minutes'),
            (SELECT min(ended_at) FROM runs WHERE status = 'failed' AND ended_at >= b.since - interval '20 seconds'),
            clock_timestamp()
        ), 'epoch')) AS since
    ) s
), limits AS MATERIALIZED (
    SELECT * FROM unnest(%(agents)s::text[], %(first_bytes)s::float8[], %(costs)s::float8[], %(recoveries)s::float8[])
        AS l (agent, first_byte, cost, recovery)
), ended AS MATERIALIZED (
    SELECT o.agent, date_bin('5 minutes', o.ended_at, 'epoch') AS slot, o.status, o.tool_calls,
           o.tool_calls - least(o.tool_errors, o.tool_calls) AS tools_good,
           o.first_byte_seconds AS first_byte,
           -- An observation knows what its own attempt cost.
           CASE WHEN o.epoch = 1 THEN o.cost_usd
                ELSE (SELECT coalesce(sum(u.cost_micros), 0) / 1e6 FROM call_usage u WHERE u.run_id = o.run_id)
                END AS cost,
           o.epoch > 1 AND o.status <> 'cancelled' AND (
               EXISTS (SELECT FROM run_attempts a
                       WHERE a.run_id = o.run_id AND a.epoch < o.epoch AND a.kind IN ('crash', 'taken'))
               OR EXISTS (SELECT FROM run_history h
                          WHERE h.run_id = o.run_id AND h.epoch < o.epoch AND h.event IN ('waited', 'replayed', 'revived'))
           ) AS resumed
    FROM run_observations o
    WHERE o.ended_at >= (SELECT since FROM span) AND o.ended_at < (SELECT until FROM span)
), by_slot AS (
    SELECT e.agent, e.slot,
           count(*) FILTER (WHERE e.first_byte <= l.first_byte) AS first_byte_good, count(e.first_byte) AS first_bytes,
           sum(e.tools_good) AS tools_good, sum(e.tool_calls) AS tools,
           -- Without a limit nothing is counted.
           count(*) FILTER (WHERE e.cost <= l.cost) AS cost_good, count(l.cost) AS costs,
           count(*) FILTER (WHERE e.status = 'success') AS runs_good,
           count(*) FILTER (WHERE e.status <> 'cancelled') AS runs,
           count(*) FILTER (WHERE e.resumed AND e.status = 'success') AS resumes_good,
           count(*) FILTER (WHERE e.resumed) AS resumes
    FROM ended e
    -- An agent's own limits, else those under NULL.
    CROSS JOIN LATERAL (SELECT * FROM limits WHERE limits.agent IS NULL OR limits.agent = e.agent ORDER BY agent LIMIT 1) l
    GROUP BY e.agent, e.slot
), unseen AS (
    -- Runs that recovery failed, because they had killed too many workers or were too slow: no attempt has told of their end.
    -- What an attempt tells is stored a moment later.
    SELECT r.agent, date_bin('5 minutes', r.ended_at + interval '20 seconds', 'epoch') AS slot, count(*) AS runs
    FROM runs r
    WHERE r.status = 'failed'
      AND r.ended_at >= (SELECT since FROM span) - interval '20 seconds'
      AND r.ended_at < (SELECT until FROM span) - interval '20 seconds'
      AND NOT EXISTS (SELECT FROM run_observations o WHERE o.run_id = r.id AND o.ended_at >= r.ended_at - interval '1 second')
      AND EXISTS (SELECT FROM run_attempts a WHERE a.run_id = r.id AND a.kind IN ('crash', 'taken'))
    GROUP BY 1, 2
), crashed AS (
    SELECT r.agent, a.ended_at + make_interval(secs => l.recovery) AS decided_at, l.recovery,
           r.status IN ('succeeded', 'failed', 'cancelled', 'interrupted') AS over,
           -- A worker that is gone has said that it lives for the last time shortly before.
           least(a.ended_at, w.heartbeat_at) AS died_at,
           (SELECT min(h.at) FROM run_history h
            WHERE h.run_id = a.run_id AND h.epoch > a.epoch AND h.event = 'claimed') AS again_at
    FROM run_attempts a
    JOIN runs r ON r.id = a.run_id
    LEFT JOIN workers w ON w.id = a.worker_id
    CROSS JOIN LATERAL (SELECT * FROM limits WHERE limits.agent IS NULL OR limits.agent = r.agent ORDER BY agent LIMIT 1) l
    -- The longest time that may be promised is four minutes.
    WHERE a.kind = 'crash'
      AND a.ended_at >= (SELECT since FROM span) - interval '5 minutes' AND a.ended_at < (SELECT until FROM span)
), recovered AS (
    SELECT agent, date_bin('5 minutes', decided_at, 'epoch') AS slot,
           count(*) FILTER (WHERE again_at <= died_at + make_interval(secs => recovery)) AS good, count(*) AS events
    FROM crashed
    WHERE decided_at >= (SELECT since FROM span) AND decided_at < (SELECT until FROM span)
      -- What ended without another attempt was cancelled, or has crashed too often.
      AND (again_at IS NOT NULL OR NOT over)
    GROUP BY 1, 2
), counted AS (
    SELECT c.slo, c.agent, c.slot, sum(c.good)::bigint AS good, sum(c.events)::bigint AS events
    FROM (
        SELECT v.slo, b.agent, b.slot, v.good, v.events
        FROM by_slot b CROSS JOIN LATERAL (VALUES
            ('first_byte', first_byte_good, first_bytes), ('tools', tools_good, tools), ('cost', cost_good, costs),
            ('runs', runs_good, runs), ('resumes', resumes_good, resumes)
        ) AS v (slo, good, events)
        UNION ALL
        SELECT 'runs', agent, slot, 0, runs FROM unseen
        UNION ALL
        SELECT 'recovery', agent, slot, good, events FROM recovered
    ) c
    GROUP BY c.slo, c.agent, c.slot
    HAVING sum(c.events) > 0
), stored AS (
    INSERT INTO slo_counts AS s (print, slo, agent, slot, good, events)
    SELECT %(print)s, slo, agent, slot, good, events FROM counted
    -- The same order everywhere, or two processes would wait for each other.
    ORDER BY slo, agent, slot
    ON CONFLICT (print, slo, agent, slot) DO UPDATE
    SET good = greatest(s.good, excluded.good),
        events = greatest(s.good, excluded.good) + greatest(s.events - s.good, excluded.events - excluded.good)
    WHERE s.good < excluded.good OR s.events - s.good < excluded.events - excluded.good
)
UPDATE slo_rollups r SET rolled_to = greatest(r.rolled_to, span.until)
FROM span WHERE r.print = %(print)s
RETURNING span.until = span.since + interval '1 hour';

-- name: add
-- What processes count themselves, since no table tells of it.
INSERT INTO slo_counts AS s (print, slo, agent, slot, good, events)
SELECT '', %(slo)s, c.agent, date_bin('5 minutes', clock_timestamp(), 'epoch'), c.good, c.events
FROM unnest(%(agents)s::text[], %(good)s::bigint[], %(events)s::bigint[]) AS c (agent, good, events)
ORDER BY c.agent
ON CONFLICT (print, slo, agent, slot) DO UPDATE SET good = s.good + excluded.good, events = s.events + excluded.events;

-- name: fold
-- Nobody asks for five minutes of yesterday, or for an hour of last week. What may be counted anew is left alone: an hour
-- would be replaced by less.
WITH old AS (
    DELETE FROM slo_counts s
    WHERE s.slot < clock_timestamp() - make_interval(hours => %(hours)s) AND s.slot > 'epoch'
      AND s.slot <> date_trunc(%(unit)s, s.slot)
      AND (s.print = '' OR s.slot < (SELECT r.rolled_to FROM slo_rollups r WHERE r.print = s.print) - interval '2 hours')
    RETURNING *
)
INSERT INTO slo_counts AS s (print, slo, agent, slot, good, events)
SELECT print, slo, agent, date_trunc(%(unit)s, slot), sum(good), sum(events) FROM old GROUP BY 1, 2, 3, 4
ON CONFLICT (print, slo, agent, slot) DO UPDATE SET good = s.good + excluded.good, events = s.events + excluded.events;

-- name: fold_ages
-- Beyond what an error budget looks back on only the sum counts.
WITH old AS (
    DELETE FROM slo_counts s
    WHERE s.slot < clock_timestamp() - make_interval(days => %(days)s + 1) AND s.slot > 'epoch'
    RETURNING *
)
INSERT INTO slo_counts AS s (print, slo, agent, slot, good, events)
SELECT print, slo, agent, 'epoch', sum(good), sum(events) FROM old GROUP BY 1, 2, 3
ON CONFLICT (print, slo, agent, slot) DO UPDATE SET good = s.good + excluded.good, events = s.events + excluded.events;

-- name: forget
-- Counts by limits that no process has had for two days.
WITH gone AS (DELETE FROM slo_rollups WHERE rolled_at < clock_timestamp() - interval '2 days' RETURNING print)
DELETE FROM slo_counts s USING gone WHERE s.print = gone.print;

-- name: windows
-- Good events and all events of each window, and of all time. A window is rounded up to whole slots: five minutes are five
-- to ten.
WITH after AS MATERIALIZED (
    SELECT clock_timestamp() - interval '10 minutes' AS minutes_5,
           clock_timestamp() - interval '35 minutes' AS minutes_30,
           clock_timestamp() - interval '65 minutes' AS hour,
           clock_timestamp() - interval '6 hours 5 minutes' AS hours_6,
           clock_timestamp() - interval '3 days 5 minutes' AS days_3,
           clock_timestamp() - make_interval(days => %(days)s) AS period
)
SELECT s.slo, s.agent,
       ARRAY[coalesce(sum(s.good) FILTER (WHERE s.slot > a.minutes_5), 0),
             coalesce(sum(s.good) FILTER (WHERE s.slot > a.minutes_30), 0),
             coalesce(sum(s.good) FILTER (WHERE s.slot > a.hour), 0),
             coalesce(sum(s.good) FILTER (WHERE s.slot > a.hours_6), 0),
             coalesce(sum(s.good) FILTER (WHERE s.slot > a.days_3), 0),
             coalesce(sum(s.good) FILTER (WHERE s.slot > a.period), 0),
             sum(s.good)]::bigint[],
       ARRAY[coalesce(sum(s.events) FILTER (WHERE s.slot > a.minutes_5), 0),
             coalesce(sum(s.events) FILTER (WHERE s.slot > a.minutes_30), 0),
             coalesce(sum(s.events) FILTER (WHERE s.slot > a.hour), 0),
             coalesce(sum(s.events) FILTER (WHERE s.slot > a.hours_6), 0),
             coalesce(sum(s.events) FILTER (WHERE s.slot > a.days_3), 0),
             coalesce(sum(s.events) FILTER (WHERE s.slot > a.period), 0),
             sum(s.events)]::bigint[]
FROM slo_counts s CROSS JOIN after a
WHERE s.print IN ('', %(print)s)
GROUP BY s.slo, s.agent;

-- name: counted_to
SELECT rolled_to FROM slo_rollups WHERE print = %(print)s;
