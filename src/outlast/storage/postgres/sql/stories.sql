-- The whole story of a thread.

-- name: thread
SELECT t.thread_id, t.created_at FROM threads t WHERE t.key = %(thread_key)s AND t.deleted_at IS NULL;

-- name: story
-- Everything that rows tell of a thread, in one statement, so that it is true of one moment: what happened (`what`), when, to
-- which run under which epoch, and by which row (`source`). `sealed` holds content, and is read when it is asked for. No
-- order: times of checkpoints are in their ids, and are clocks of other machines. `since` leaves those alone, and all that
-- attempts are numbered by.
WITH r AS MATERIALIZED (
    SELECT r.id, r.agent, r.status, r.epoch, r.priority, r.created_at, r.available_at, r.claimed_at, r.ended_at, r.worker_id,
           r.errors, r.crashes, r.max_attempts, r.cancel_requested_at, r.cancel_action, r.discarded_at,
           d.input, d.output, d.options, d.error_code, d.error_message, d.cancel_reason, d.discarded_by, d.discard_reason, d.user_id,
           d.key_id, d.lineage, d.temporary
    FROM runs r JOIN run_details d ON d.run_id = r.id
    WHERE r.thread_key = %(thread_key)s::uuid AND (%(run_id)s::uuid IS NULL OR r.id = %(run_id)s::uuid)
), told (what, at, run_id, epoch, source, facts, sealed) AS (
    SELECT 'run.created', r.created_at, r.id, 0, r.id::text, jsonb_build_object(
               'agent', r.agent, 'status', r.status, 'error_code', r.error_code, 'now_epoch', r.epoch,
               'priority', r.priority, 'max_attempts', r.max_attempts, 'errors', r.errors, 'crashes', r.crashes,
               'user', r.user_id, 'key', r.key_id, 'goes_on_for', nullif(r.lineage, r.id), 'temporary', r.temporary
           ), ARRAY[r.options, CASE WHEN %(content)s::boolean THEN r.input END]
    FROM r
    UNION ALL
    SELECT 'run.ended', r.ended_at, r.id, r.epoch, r.id::text, jsonb_build_object(
               'status', r.status, 'error_code', CASE WHEN r.status = 'failed' THEN r.error_code END,
               'seconds', extract(epoch FROM r.ended_at - r.created_at)::float8
           ), CASE WHEN %(content)s THEN ARRAY[
               CASE WHEN r.status = 'failed' THEN convert_to(r.error_message, 'UTF8') END, r.output
           ] END
    FROM r WHERE r.ended_at IS NOT NULL
    UNION ALL
    SELECT 'run.cancel_requested', r.cancel_requested_at, r.id, NULL, r.id::text,
           jsonb_build_object('action', coalesce(r.cancel_action, 'interrupt')),
           CASE WHEN %(content)s THEN ARRAY[convert_to(r.cancel_reason, 'UTF8')] END
    FROM r WHERE r.cancel_requested_at IS NOT NULL
    UNION ALL
    SELECT 'run.discarded', r.discarded_at, r.id, NULL, r.id::text, jsonb_build_object('by', r.discarded_by),
           CASE WHEN %(content)s THEN ARRAY[convert_to(r.discard_reason, 'UTF8')] END
    FROM r WHERE r.discarded_at IS NOT NULL
    UNION ALL
    SELECT CASE WHEN h.event IN ('replayed', 'revived') THEN 'run.' ELSE 'attempt.' END || h.event, h.at, h.run_id, h.epoch,
           h.run_id || ':' || h.epoch,
           CASE WHEN h.worker_id IS NULL THEN '{}' ELSE jsonb_build_object(
               'worker_id', h.worker_id, 'host', w.host, 'pid', w.pid, 'known', true
           ) END, NULL
    FROM r JOIN run_history h ON h.run_id = r.id LEFT JOIN workers w ON w.id = h.worker_id
    UNION ALL
    -- Claims from before there was a history.
    SELECT 'attempt.claimed', a.began_at, a.run_id, a.epoch, a.run_id || ':' || a.epoch,
           jsonb_build_object('worker_id', a.worker_id, 'host', w.host, 'pid', w.pid, 'known', a.worker_id IS NOT NULL), NULL
    FROM r JOIN run_attempts a ON a.run_id = r.id LEFT JOIN workers w ON w.id = a.worker_id
    WHERE a.began_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM run_history h WHERE h.run_id = r.id AND h.epoch = a.epoch AND h.event = 'claimed')
    UNION ALL
    SELECT 'attempt.claimed', r.claimed_at, r.id, r.epoch, r.id || ':' || r.epoch,
           jsonb_build_object('worker_id', r.worker_id, 'known', r.worker_id IS NOT NULL), NULL
    FROM r
    WHERE r.claimed_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM run_history h WHERE h.run_id = r.id AND h.event = 'claimed' AND h.at >= r.claimed_at)
      AND NOT EXISTS (SELECT FROM run_attempts a WHERE a.run_id = r.id AND a.began_at >= r.claimed_at)
    UNION ALL
    SELECT CASE a.kind WHEN 'crash' THEN 'attempt.lost' WHEN 'taken' THEN 'attempt.taken' ELSE 'attempt.failed' END,
           a.ended_at, a.run_id, a.epoch, a.run_id || ':' || a.epoch, jsonb_build_object('error_code', a.error_code),
           CASE WHEN %(content)s THEN ARRAY[convert_to(a.error_message, 'UTF8')] END
    FROM r JOIN run_attempts a ON a.run_id = r.id
    UNION ALL
    SELECT 'step', NULL, CASE WHEN c.run_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN c.run_id::uuid END, c.epoch,
           c.checkpoint_id::text, jsonb_build_object(
               'ns', c.ns, 'seq', c.seq, 'step', c.metadata -> 'step', 'made_by', c.metadata -> 'source',
               'parent', c.parent_id, 'tasks', coalesce(done.tasks, '[]')
           ), NULL
    FROM checkpoints c
    LEFT JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object('task', t.task, 'path', t.path, 'epoch', t.epoch) ORDER BY t.path) AS tasks
        FROM (
            SELECT encode(w.task_id, 'hex') AS task, w.task_path AS path, max(w.epoch) FILTER (WHERE w.idx >= 0) AS epoch
            FROM checkpoint_writes w
            WHERE w.thread_key = c.thread_key AND w.ns = c.ns AND w.checkpoint_id = c.parent_id
            GROUP BY w.task_id, w.task_path HAVING bool_or(w.idx >= 0)
        ) AS t
    ) AS done ON true
    WHERE c.thread_key = %(thread_key)s AND (%(run_id)s::uuid IS NULL OR c.run_id = %(run_id)s::uuid::text)
    UNION ALL
    -- Of a step that was not completed, or is not yet.
    SELECT 'task', NULL, CASE WHEN c.run_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN c.run_id::uuid END,
           max(w.epoch), c.checkpoint_id || ':' || encode(w.task_id, 'hex'), jsonb_build_object(
               'ns', c.ns, 'seq', c.seq, 'checkpoint', c.checkpoint_id, 'task', encode(w.task_id, 'hex'),
               'path', w.task_path, 'done', bool_or(w.idx >= 0), 'error', bool_or(w.idx = -1), 'asks', bool_or(w.idx = -3)
           ), NULL
    FROM checkpoints c
    JOIN checkpoint_writes w ON w.thread_key = c.thread_key AND w.ns = c.ns AND w.checkpoint_id = c.checkpoint_id
    WHERE c.thread_key = %(thread_key)s AND (%(run_id)s::uuid IS NULL OR c.run_id = %(run_id)s::uuid::text)
      AND w.task_id <> '\x00000000000000000000000000000000'
      AND NOT EXISTS (
          SELECT FROM checkpoints n WHERE n.thread_key = c.thread_key AND n.ns = c.ns AND n.parent_id = c.checkpoint_id
      )
    GROUP BY c.run_id, c.checkpoint_id, c.ns, c.seq, w.task_id, w.task_path
    UNION ALL
    SELECT 'call', u.at, u.run_id, NULL, u.call_id || ':' || u.try, jsonb_build_object(
               'provider', u.provider, 'model', u.model, 'outcome', u.outcome, 'try', u.try, 'seconds', u.seconds,
               'input_tokens', u.input_tokens, 'output_tokens', u.output_tokens, 'cached_tokens', u.cache_read_tokens,
               'reasoning_tokens', u.reasoning_tokens, 'cost_micros', u.cost_micros, 'saved_micros', u.saved_micros
           ), NULL
    FROM call_usage u
    WHERE u.thread_key = %(thread_key)s AND (%(run_id)s::uuid IS NULL OR u.run_id = %(run_id)s::uuid)
    UNION ALL
    SELECT 'effect', e.begun_at, e.run_id, e.epoch, e.key, jsonb_build_object(
               'name', e.name, 'key', e.key, 'calls', e.calls, 'own_key', e.business_key IS NOT NULL,
               'state', CASE WHEN e.state = 'intent' AND (o.status IS DISTINCT FROM 'running' OR o.epoch <> e.epoch)
                             THEN 'unknown' ELSE e.state END,
               'task', replace(e.task::text, '-', ''), 'ended_at', e.ended_at, 'answered_at', e.answered_at,
               'seconds', extract(epoch FROM e.ended_at - e.begun_at)::float8
           ), CASE WHEN %(content)s THEN ARRAY[e.arguments, convert_to(e.error, 'UTF8'), e.answer] END
    FROM effects e LEFT JOIN runs o ON o.id = e.run_id
    WHERE e.thread_key = %(thread_key)s
      AND (%(run_id)s::uuid IS NULL OR e.run_id = %(run_id)s::uuid OR e.lineage = %(run_id)s::uuid)
    UNION ALL
    SELECT 'budget.stopped', q.asked_at, q.run_id, NULL, q.lineage || ':' || q.task || ':' || q.position, jsonb_build_object(
               'budget', q.budget, 'unit', q.unit, 'limit', q.limit_at, 'spent', q.spent_at, 'released_at', q.released_at
           ), NULL
    FROM effect_questions q
    WHERE q.thread_key = %(thread_key)s AND q.budget IS NOT NULL
      AND (%(run_id)s::uuid IS NULL OR q.run_id = %(run_id)s::uuid)
    UNION ALL
    SELECT 'question.asked', q.asked_at, q.run_id, q.epoch, q.id::text, jsonb_build_object(
               'question', q.id, 'kind', q.kind, 'assignee', q.assignee, 'due_at', q.due_at, 'needs', q.needs,
               'allowed', q.allowed, 'status', q.status
           ), CASE WHEN %(content)s THEN ARRAY[q.value] END
    FROM questions q
    WHERE q.thread_key = %(thread_key)s AND (%(run_id)s::uuid IS NULL OR q.run_id = %(run_id)s::uuid)
    UNION ALL
    SELECT 'question.' || q.status, q.answered_at, q.run_id, q.epoch, q.id::text, jsonb_build_object(
               'question', q.id, 'kind', q.kind, 'decision', q.decision, 'by', q.answered_by
           ), CASE WHEN %(content)s THEN ARRAY[q.answer] END
    FROM questions q
    WHERE q.thread_key = %(thread_key)s AND q.status <> 'open'
      AND (%(run_id)s::uuid IS NULL OR q.run_id = %(run_id)s::uuid)
    UNION ALL
    SELECT 'question.' || n.kind, n.said_at, q.run_id, q.epoch, n.id::text,
           jsonb_build_object('question', q.id, 'by', n.author), CASE WHEN %(content)s THEN ARRAY[n.body] END
    FROM questions q JOIN question_notes n ON n.question_id = q.id
    WHERE q.thread_key = %(thread_key)s AND (%(run_id)s::uuid IS NULL OR q.run_id = %(run_id)s::uuid)
    UNION ALL
    SELECT 'review', v.reviewed_at, v.run_id, v.epoch, v.thread_key || ':' || v.lineage || ':' || v.position,
           jsonb_build_object('action', v.action, 'decision', v.decision, 'decided_at', v.decided_at, 'position', v.position),
           CASE WHEN %(content)s THEN ARRAY[v.body] END
    FROM reviews v
    WHERE v.thread_key = %(thread_key)s AND (%(run_id)s::uuid IS NULL OR v.run_id = %(run_id)s::uuid)
    UNION ALL
    SELECT 'admission', a.at, r.id, 0, a.id::text, jsonb_build_object(
               'verdict', a.verdict, 'stage', a.stage, 'code', a.code, 'reason', a.reason, 'times', a.times,
               'delay_seconds', a.delay_seconds, 'user', a.user_id
           ), NULL
    FROM r JOIN admission_decisions a ON a.id = r.id
    UNION ALL
    SELECT 'admission', a.at, NULL, NULL, a.id::text, jsonb_build_object(
               'verdict', a.verdict, 'stage', a.stage, 'code', a.code, 'reason', a.reason, 'times', a.times,
               'delay_seconds', a.delay_seconds, 'user', a.user_id
           ), NULL
    FROM admission_decisions a
    WHERE a.verdict = 'refuse' AND a.thread_id = %(thread_id)s::text AND %(run_id)s::uuid IS NULL
    UNION ALL
    SELECT 'webhook', coalesce(v.delivered_at, v.created_at), v.run_id, v.epoch, v.id::text,
           jsonb_build_object('state', v.state, 'attempts', v.attempts), NULL
    FROM r JOIN webhook_deliveries v ON v.run_id = r.id
    UNION ALL
    SELECT 'notification', n.created_at, n.run_id, NULL, n.id::text, jsonb_build_object('event', n.event, 'channels', (
               SELECT coalesce(jsonb_agg(jsonb_build_object('channel', m.channel, 'state', m.state) ORDER BY m.channel), '[]')
               FROM notification_items i JOIN notification_messages m ON m.id = i.message_id
               WHERE i.notification_id = n.id
           )), NULL
    FROM r JOIN notifications n ON n.run_id = r.id
    UNION ALL
    SELECT 'feedback', f.created_at, f.run_id, NULL, f.id::text, jsonb_build_object('key', f.key, 'score', f.score),
           CASE WHEN %(content)s THEN ARRAY[f.value, convert_to(f.comment, 'UTF8')] END
    FROM r JOIN run_feedback f ON f.run_id = r.id
    UNION ALL
    -- With the names of people that are not forgotten, in the place of their pseudonyms.
    SELECT 'audit', l.at, CASE WHEN split_part(l.object, ':', 1) = 'run' THEN split_part(l.object, ':', 2)::uuid END, NULL,
           l.seq::text, jsonb_build_object(
               'action', l.action, 'actor', CASE WHEN p.name IS NULL THEN l.actor ELSE 'user:' || p.name END,
               'object', split_part(l.object, ':', 1), 'seq', l.seq, 'details', l.details
           ), NULL
    FROM (
        SELECT 'run:' || r.id AS object FROM r
        UNION ALL
        SELECT 'question:' || q.id FROM questions q
        WHERE q.thread_key = %(thread_key)s AND (%(run_id)s::uuid IS NULL OR q.run_id = %(run_id)s::uuid)
        UNION ALL
        SELECT 'thread:' || n.pseudonym FROM audit_names n
        WHERE n.tenant = current_tenant() AND n.kind = 'thread' AND n.name = %(thread_id)s AND %(run_id)s::uuid IS NULL
    ) AS o
    JOIN audit_log l ON l.tenant = current_tenant() AND l.object = o.object
    LEFT JOIN audit_names p ON p.tenant = l.tenant AND p.kind = 'user'
        AND p.pseudonym = CASE WHEN l.actor ~ '^user:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                               THEN substr(l.actor, 6)::uuid END
    WHERE %(audit)s::boolean
)
SELECT what, at, run_id, epoch, source, facts, sealed FROM told
WHERE %(since)s::timestamptz IS NULL OR at IS NULL OR at >= %(since)s::timestamptz
   OR what = 'run.created' OR what LIKE 'attempt.%%' OR what = 'run.ended';
