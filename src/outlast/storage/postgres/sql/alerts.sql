-- Alerts: decided in rounds by one process at a time, by the database's clock; read by people.

-- name: claim
-- Most looks change no row. The number is the fence: whoever was suspended over its round finds a higher one.
UPDATE alert_clock
SET round = round + 1, due_at = clock_timestamp() + make_interval(secs => %(every)s)
WHERE due_at <= clock_timestamp()
RETURNING round;

-- name: begin
-- In the transaction that decides: nobody else may decide until it ends, and somebody who has begun since has the say.
UPDATE alert_clock SET evaluated_at = clock_timestamp() WHERE round = %(round)s RETURNING clock_timestamp();

-- part: columns
id, tenant, rule, subject, labels, severity, state, value, text, started_at, fired_at, clear_since, resolved_at,
notified_at, notices, told_severity, told_as, acknowledged_at, acknowledged_by

-- name: open
SELECT
--include columns
FROM alerts WHERE state <> 'resolved';

-- name: flaps
-- How often each of them came and went lately.
SELECT tenant, rule, subject, count(*) FROM alerts
WHERE state = 'resolved' AND resolved_at > clock_timestamp() - make_interval(secs => %(window)s)
GROUP BY tenant, rule, subject;

-- name: silences
SELECT id, tenant, rule, subject, why, silenced_by, began_at, until_at FROM alert_silences
WHERE until_at > clock_timestamp()
ORDER BY until_at, id;

-- name: store
-- Whether somebody has acknowledged it is theirs to say.
INSERT INTO alerts AS a (
    id, tenant, rule, subject, labels, severity, state, value, text, started_at, fired_at, clear_since, resolved_at,
    notified_at, notices, told_severity, told_as
)
SELECT * FROM unnest(
    %(id)s::uuid[], %(tenant)s::text[], %(rule)s::text[], %(subject)s::text[], %(labels)s::jsonb[], %(severity)s::text[],
    %(state)s::text[], %(value)s::float8[], %(text)s::text[], %(started_at)s::timestamptz[],
    %(fired_at)s::timestamptz[], %(clear_since)s::timestamptz[], %(resolved_at)s::timestamptz[],
    %(notified_at)s::timestamptz[], %(notices)s::integer[], %(told_severity)s::text[], %(told_as)s::uuid[]
)
ON CONFLICT (id) DO UPDATE
SET severity = excluded.severity, state = excluded.state, value = excluded.value, text = excluded.text,
    fired_at = excluded.fired_at, clear_since = excluded.clear_since, resolved_at = excluded.resolved_at,
    notified_at = excluded.notified_at, notices = excluded.notices, told_severity = excluded.told_severity,
    told_as = excluded.told_as;

-- name: drop_pending
DELETE FROM alerts WHERE id = ANY(%(ids)s::uuid[]) AND state = 'pending';

-- name: standing
-- For metrics: when somebody last looked, and how many fire.
SELECT (SELECT evaluated_at FROM alert_clock),
       (SELECT coalesce(jsonb_object_agg(severity, count), '{}') FROM (
            SELECT severity, count(*) FROM alerts WHERE state = 'firing' GROUP BY severity) AS firing);

-- name: find
-- For people: what is open first, then the newest; NULL does not filter.
SELECT
--include columns
FROM alerts
WHERE (%(states)s::text[] IS NULL OR state = ANY(%(states)s::text[])) AND (%(rule)s::text IS NULL OR rule = %(rule)s)
ORDER BY state = 'resolved', started_at DESC, id
LIMIT %(limit)s;

-- name: get
SELECT
--include columns
FROM alerts WHERE id = ANY(%(ids)s::uuid[]) ORDER BY started_at, id;

-- name: by_prefix
-- People copy the beginning of an id.
SELECT
--include columns
FROM alerts WHERE id::text LIKE %(prefix)s || '%%' AND state <> 'resolved' ORDER BY id LIMIT 2;

-- name: acknowledge
UPDATE alerts SET acknowledged_at = clock_timestamp(), acknowledged_by = %(who)s
WHERE id = %(id)s AND state <> 'resolved' AND acknowledged_at IS NULL
RETURNING id;

-- name: silence
INSERT INTO alert_silences (rule, subject, why, silenced_by, until_at)
VALUES (%(rule)s, %(subject)s, %(why)s, %(who)s, clock_timestamp() + make_interval(secs => %(seconds)s))
RETURNING id, tenant, rule, subject, why, silenced_by, began_at, until_at;

-- name: unsilence
UPDATE alert_silences SET until_at = clock_timestamp()
WHERE until_at > clock_timestamp() AND (id::text LIKE %(what)s || '%%' OR rule = %(what)s)
RETURNING id, tenant, rule, subject, why, silenced_by, began_at, until_at;

-- name: test
-- It fires until whoever made it has seen what came of it.
INSERT INTO alerts (id, rule, subject, labels, severity, state, text, started_at, fired_at, notified_at, notices,
                    told_severity, told_as)
VALUES (%(id)s, 'test', 'id=' || %(id)s::uuid, '{}', 'error', 'firing', %(text)s, clock_timestamp(), clock_timestamp(),
        clock_timestamp(), 1, 'error', %(id)s);

-- name: end_test
UPDATE alerts SET state = 'resolved', resolved_at = clock_timestamp() WHERE id = %(id)s AND state <> 'resolved';

-- name: told
-- What became of the messages about alerts that were told together.
SELECT n.routed_at IS NOT NULL, i.channel, m.state, m.attempts, m.last_error
FROM notifications n
LEFT JOIN notification_items i ON i.notification_id = n.id
LEFT JOIN notification_messages m ON m.id = i.message_id
WHERE n.alert_group = %(group)s AND n.event = 'alert'
ORDER BY i.channel;

-- name: heartbeat_due
SELECT heartbeat_at IS NULL OR heartbeat_at <= clock_timestamp() - make_interval(secs => %(every)s) FROM alert_clock
WHERE round = %(round)s;

-- name: heartbeat_sent
UPDATE alert_clock SET heartbeat_at = clock_timestamp();

-- name: signal
-- Processes add to the same minutes, in one order, so that no two wait for each other.
INSERT INTO alert_signals AS s (tenant, name, subject, minute, count)
SELECT g.tenant, g.name, g.subject, date_trunc('minute', clock_timestamp()), g.count
FROM unnest(%(tenants)s::text[], %(names)s::text[], %(subjects)s::text[], %(counts)s::bigint[])
    AS g (tenant, name, subject, count)
ORDER BY g.tenant, g.name, g.subject
ON CONFLICT (minute, tenant, name, subject) DO UPDATE SET count = s.count + excluded.count;

-- name: forget
-- Pending and firing alerts stay.
DELETE FROM alerts WHERE state = 'resolved' AND resolved_at < clock_timestamp() - make_interval(secs => %(age)s);

-- name: forget_silences
DELETE FROM alert_silences WHERE until_at < clock_timestamp() - make_interval(secs => %(age)s);

-- name: forget_signals
DELETE FROM alert_signals WHERE minute < clock_timestamp() - interval '1 day';
