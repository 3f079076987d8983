-- What people are told: written where it happens, given to channels by whoever routes, sent by any number of senders.

-- name: put
-- After the statement that wrote the questions, in its transaction: what that one was refused is not here to be found.
INSERT INTO notifications (tenant, key, event, run_id, question_id, agent, kind)
SELECT q.tenant,
       %(event)s || ':' || q.id || CASE %(event)s
           -- Whoever it is given to is told, also the second time; and each reminder is one.
           WHEN 'assigned' THEN ':' || gen_random_uuid()
           WHEN 'overdue' THEN ':' || q.reminders
           ELSE '' END,
       %(event)s, q.run_id, q.id, q.agent, q.kind
FROM questions q
WHERE q.id = ANY(%(questions)s::uuid[])
  AND CASE %(event)s
      WHEN 'expired' THEN q.status = 'expired'
      WHEN 'overdue' THEN q.status = 'open' AND q.reminders > 0
      WHEN 'assigned' THEN q.status = 'open' AND q.assignee IS NOT NULL
      ELSE q.status = 'open' END
ON CONFLICT (tenant, key) DO NOTHING;

-- name: put_failed
-- After the statement that ended the run, in its transaction. One that was replayed and fails again has another epoch.
INSERT INTO notifications (tenant, key, event, run_id, agent, kind)
SELECT r.tenant, 'failed:' || r.id || ':' || r.epoch, 'failed', r.id, r.agent, coalesce(d.error_code, 'error')
FROM runs r JOIN run_details d ON d.run_id = r.id
WHERE r.id = %(id)s AND r.status = 'failed'
ON CONFLICT (tenant, key) DO NOTHING;

-- name: put_alert
-- In the transaction that decides that it fires, or that it is over. NULL: for the tenant of the context.
INSERT INTO notifications (tenant, key, event, agent, kind, severity, alerts, alert_group)
VALUES (coalesce(%(tenant)s, current_tenant()), %(key)s, %(event)s, %(agent)s, %(rule)s, %(severity)s,
        %(alerts)s::uuid[], %(group)s)
ON CONFLICT (tenant, key) DO NOTHING;

-- name: are_new
-- Most looks find nothing: one probe of a small index.
SELECT EXISTS (SELECT FROM notifications WHERE routed_at IS NULL);

-- name: is_alone
-- One process at a time gives notifications to channels, so that it can count how many a channel gets.
SELECT pg_try_advisory_xact_lock(%(class_id)s, hashtext(current_schema()));

-- name: unrouted
SELECT id, tenant, event, agent, kind, run_id, question_id, severity, alert_group FROM notifications
WHERE routed_at IS NULL
ORDER BY created_at
LIMIT %(limit)s;

-- name: lately
-- What channels got in the last while, and the group that gathers for each of them. A group that a sender has taken is
-- closed; the lock waits for one who is just about to take it.
SELECT c.tenant, c.channel,
       (SELECT count(*) FROM notification_messages m
        WHERE m.tenant = c.tenant AND m.channel = c.channel AND NOT m.grouped
          AND (m.incident IS NULL OR m.incident = 'open')
          AND m.created_at > now() - make_interval(secs => %(window_seconds)s)),
       g.id
FROM unnest(%(tenants)s::text[], %(channels)s::text[]) AS c (tenant, channel)
LEFT JOIN LATERAL (
    SELECT m.id FROM notification_messages m
    WHERE m.tenant = c.tenant AND m.channel = c.channel AND m.grouped AND m.state = 'pending' AND m.attempts = 0
      AND m.created_at > now() - make_interval(secs => 2 * %(window_seconds)s)
    LIMIT 1
    FOR UPDATE
) AS g ON true;

-- name: add_messages
INSERT INTO notification_messages (id, tenant, channel, key, grouped, due_at)
SELECT m.id, m.tenant, m.channel, m.key, m.grouped, clock_timestamp() + make_interval(secs => m.delay)
FROM unnest(%(ids)s::uuid[], %(tenants)s::text[], %(channels)s::text[], %(keys)s::text[], %(grouped)s::boolean[],
            %(delays)s::float8[]) AS m (id, tenant, channel, key, grouped, delay);

-- name: add_items
-- Whatever goes wrong, one notification is told once on one channel.
INSERT INTO notification_items (tenant, notification_id, channel, message_id)
SELECT * FROM unnest(%(tenants)s::text[], %(notifications)s::uuid[], %(channels)s::text[], %(messages)s::uuid[])
ON CONFLICT (notification_id, channel) DO NOTHING;

-- name: routed
UPDATE notifications SET routed_at = clock_timestamp() WHERE id = ANY(%(ids)s::uuid[]);

-- name: take
-- A row taken is due again when its lease is over: a sender that dies holds nothing up for longer. now() is this
-- statement's time, and unlike clock_timestamp() it bounds what is read of the index.
WITH due AS (
    SELECT id FROM notification_messages
    WHERE state = 'pending' AND due_at <= now()
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE notification_messages m
SET attempts = attempts + 1, due_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
FROM due WHERE m.id = due.id
RETURNING m.id, m.tenant, m.channel, m.key, m.grouped, m.incident, m.attempts,
          extract(epoch FROM clock_timestamp() - m.created_at)::float8;

-- part: item_of_message
-- Whether somebody has still to look. That a default was taken is news for good, and so is that an alert is over.
SELECT n.event, n.run_id, n.question_id, n.agent, n.kind, n.severity, n.alerts, n.created_at,
       CASE WHEN n.event IN ('expired', 'recovered') THEN true
            WHEN n.event = 'alert' THEN EXISTS (
                SELECT FROM alerts a WHERE a.id = ANY(n.alerts) AND a.state = 'firing')
            WHEN n.event = 'failed' THEN coalesce(r.status = 'failed' AND r.discarded_at IS NULL, false)
            ELSE coalesce(q.status = 'open' AND r.status IN ('waiting', 'interrupted'), false) END AS matters
FROM notification_items i
JOIN notifications n ON n.id = i.notification_id
LEFT JOIN runs r ON r.id = n.run_id
LEFT JOIN questions q ON q.id = n.question_id

-- name: items
-- Of a message, how many of them still matter, and the first ones in full.
WITH items AS (
--include item_of_message
    WHERE i.message_id = %(message)s
)
SELECT event, run_id, question_id, agent, kind, severity, alerts, count(*) OVER () FROM items WHERE matters
ORDER BY created_at, run_id
LIMIT %(limit)s;

-- name: settled
-- Of the attempt that was just made only: a sender that was suspended over its lease has no say any more.
UPDATE notification_messages
SET state = %(state)s, ended_at = clock_timestamp(), last_error = %(error)s, incident = %(incident)s
WHERE id = %(id)s AND attempts = %(attempts)s AND state = 'pending';

-- name: retry_later
UPDATE notification_messages
SET last_error = %(error)s, due_at = clock_timestamp() + make_interval(secs => %(retry_seconds)s)
WHERE id = %(id)s AND attempts = %(attempts)s AND state = 'pending';

-- name: close_incidents
-- Incidents about which nobody has to do anything any more are closed at their receiver, by a message like others.
UPDATE notification_messages m
SET state = 'pending', incident = 'closing', attempts = 0, due_at = clock_timestamp(), ended_at = NULL,
    created_at = clock_timestamp()
WHERE m.incident = 'open' AND NOT EXISTS (
    SELECT FROM (
--include item_of_message
        WHERE i.message_id = m.id
    ) AS item WHERE item.matters
);

-- name: find
-- For people, newest first; NULL does not filter.
SELECT m.id, m.channel, m.state, m.incident, m.attempts, m.created_at, m.due_at, m.ended_at, m.last_error,
       count(i.notification_id), min(n.event), min(n.question_id::text), min(n.run_id::text)
FROM notification_messages m
LEFT JOIN notification_items i ON i.message_id = m.id
LEFT JOIN notifications n ON n.id = i.notification_id
WHERE (%(state)s::text IS NULL OR m.state = %(state)s) AND (%(channel)s::text IS NULL OR m.channel = %(channel)s)
GROUP BY m.id
ORDER BY m.created_at DESC, m.id
LIMIT %(limit)s;

-- name: send_again
-- A person has repaired what was in the way.
UPDATE notification_messages
SET state = 'pending', ended_at = NULL, attempts = 0, created_at = clock_timestamp(), due_at = clock_timestamp()
WHERE id = %(id)s AND state = 'failed'
RETURNING channel;

-- name: forget_messages
-- An open incident stays known until it is closed.
WITH old AS (
    SELECT id FROM notification_messages
    WHERE state <> 'pending' AND ended_at < now() - make_interval(secs => %(age)s) AND incident IS DISTINCT FROM 'open'
    ORDER BY ended_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM notification_messages m USING old WHERE m.id = old.id;

-- name: forget_told
-- What nobody was told, or was told so long ago that the message is gone.
WITH old AS (
    SELECT n.id FROM notifications n
    WHERE n.routed_at < now() - make_interval(secs => %(age)s)
      AND NOT EXISTS (SELECT FROM notification_items i WHERE i.notification_id = n.id)
    ORDER BY n.routed_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM notifications n USING old WHERE n.id = old.id;
