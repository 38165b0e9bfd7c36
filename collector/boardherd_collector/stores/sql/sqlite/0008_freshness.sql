-- How long the word of an agent counts: by the interval of its own samples, which its hello tells.
--
-- A PC is silent once it was not heard for three of its intervals; for at least 5 s, since what is heard comes through
-- a transaction. A board's verdict and a port's state count as long as the PC that told them is not silent, and for
-- 3 min at most after they were last confirmed, which agents do every minute.

ALTER TABLE test_pcs ADD COLUMN sample_interval_s REAL NOT NULL DEFAULT 10
    CHECK (sample_interval_s > 0 AND sample_interval_s <= 86400);
UPDATE test_pcs SET sample_interval_s = min(json_extract(hello, '$.sample_interval_s'), 86400)
WHERE json_extract(hello, '$.sample_interval_s') > 0;

DROP VIEW board_overview;
DROP VIEW relay_overview;
DROP VIEW relay_port_overview;
DROP VIEW pc_overview;

CREATE VIEW pc_silence AS
SELECT
    number AS test_pc,
    last_heartbeat_at + CAST(max(3 * sample_interval_s, 5) * 1000000 AS INTEGER) AS silent_at
FROM test_pcs;

CREATE VIEW pc_overview AS
SELECT
    told.*,
    told.status = 'ONLINE' AS is_online,
    told.status IN ('ONLINE', 'INITIALIZING') AS is_available_for_testing
FROM (
    SELECT
        pc.uuid, pc.number, pc.id, pc.name, pc.hostname, pc.hostname_clash,
        coalesce(pc.observed_ip_address, pc.ip_address) AS ip_address,
        pc.domain_name, pc.os_version, pc.disk_mountpoint, pc.location, pc.rack, pc.comment,
        watcher.id AS watched_by, pc.maintenance_since, pc.maintenance_by, pc.maintenance_reason,
        pc.declared, pc.retired_at, pc.created_at, pc.updated_at, pc.last_heartbeat_at,
        (clock.now - pc.last_heartbeat_at) / 1000000 AS age_s,
        CASE
            WHEN pc.maintenance_since IS NOT NULL THEN 'MAINTENANCE'
            WHEN silence.silent_at IS NULL OR clock.now > silence.silent_at THEN 'OFFLINE'
            WHEN current.timestamp IS NULL THEN 'INITIALIZING'
            ELSE 'ONLINE'
        END AS status,
        current.timestamp AS sampled_at,
        current.status AS health,
        current.status = 'HEALTHY' AS is_healthy,
        current.record AS sample
    FROM test_pcs AS pc
    CROSS JOIN clock
    JOIN pc_silence AS silence ON silence.test_pc = pc.number
    LEFT JOIN test_pcs AS watcher ON watcher.uuid = pc.watched_by
    LEFT JOIN pc_current AS current ON current.test_pc = pc.number
) AS told;

CREATE VIEW relay_port_overview AS
SELECT
    relay.id AS relay, current.port, pc.id AS test_pc, board.id AS board, line.name AS line,
    CASE WHEN clock.now <= current.holds_until THEN current.observed ELSE 'unknown' END AS observed,
    current.asked, current.expected, current.drift, current.drift_since,
    coalesce(feed.polarity, line.polarity) AS polarity,
    json_extract(current.record, '$.since') AS since,
    json_extract(current.record, '$.switch_count') AS switch_count,
    json_extract(current.record, '$.switched_at') AS switched_at,
    json_extract(current.record, '$.switched_by') AS switched_by,
    current.wiring_proved_at,
    current.timestamp AS last_confirmed_at,
    (clock.now - current.timestamp) / 1000000 AS age_s,
    current.record,
    clock.now <= current.holds_until AS is_confirmed
FROM (
    SELECT
        told.*,
        min(told.timestamp + 180000000, ifnull(silence.silent_at, told.timestamp + 180000000)) AS holds_until
    FROM relay_port_current AS told
    LEFT JOIN pc_silence AS silence ON silence.test_pc = told.test_pc
) AS current
CROSS JOIN clock
JOIN relays AS relay ON relay.number = current.relay
LEFT JOIN test_pcs AS pc ON pc.number = current.test_pc
LEFT JOIN board_feeds AS feed ON feed.relay = relay.uuid AND feed.relay_number = current.port
LEFT JOIN board_lines AS line ON line.relay = relay.uuid AND line.relay_number = current.port
LEFT JOIN boards AS board ON board.uuid = coalesce(feed.board, line.board);

CREATE VIEW relay_overview AS
SELECT told.*, told.status = 'ACTIVE' AS is_healthy
FROM (
    SELECT
        relay.uuid, relay.number, relay.id, relay.relay_name, relay.model_type, relay.kind, relay.after_outage,
        relay.ip_address, relay.tcp_port, relay.unit, relay.mac_address, relay.port_count, relay.module,
        relay.location, relay.rack, relay.maintenance_since, relay.maintenance_by, relay.maintenance_reason,
        relay.last_checked_at, relay.declared, relay.retired_at, relay.created_at, relay.updated_at,
        CASE
            WHEN relay.maintenance_since IS NOT NULL THEN 'MAINTENANCE'
            WHEN relay.last_checked_at IS NULL THEN 'INACTIVE'
            WHEN EXISTS (
                SELECT 1 FROM relay_port_overview AS port
                WHERE port.relay = relay.id AND port.observed <> 'unknown'
            ) THEN 'ACTIVE'
            -- Whether it answers is known as long as an agent is there to say so.
            WHEN EXISTS (
                SELECT 1 FROM relay_port_overview AS port WHERE port.relay = relay.id AND port.is_confirmed
            ) THEN 'FAULT'
            ELSE 'INACTIVE'
        END AS status
    FROM relays AS relay
) AS told;

CREATE VIEW board_overview AS
SELECT
    told.*,
    CASE
        WHEN told.deactivated_at IS NOT NULL THEN 'DEACTIVATED'
        WHEN told.error_since IS NOT NULL THEN 'ERROR'
        WHEN NOT told.is_alive THEN 'OFFLINE'
        ELSE told.use_status
    END AS status,
    told.is_alive AND told.error_since IS NULL AS is_healthy,
    told.is_alive AND told.error_since IS NULL AND told.deactivated_at IS NULL AND told.use_status = 'IDLE'
        AND NOT told.is_locked AND coalesce(pc.is_available_for_testing, 0) AS can_execute_test
FROM (
    SELECT
        board.uuid, board.number, board.id, board.name, board.hardware_serial_number, board.project, board.platform,
        board.device_type, board.pg_version, board.execution_engine, board.sdk_version, board.test_farm,
        board.board_ip, board.serial_port, board.console, board.normally, board.location, board.description,
        board.notes,
        CASE WHEN board.lock_deadline > clock.now THEN board.use_status ELSE 'IDLE' END AS use_status,
        coalesce(board.is_locked AND board.lock_deadline > clock.now, 0) AS is_locked,
        board.lock_id, board.lock_owner, board.lock_purpose, board.lock_deadline,
        board.error_since, board.error_reason, board.deactivated_at, board.deactivated_by,
        board.deactivated_reason, board.last_sdk_update_at, board.last_used_at, board.declared, board.retired_at,
        board.created_at, board.updated_at,
        owner.id AS test_pc,
        relay.id AS relay, feed.relay_number,
        CASE WHEN clock.now <= board.holds_until THEN board.told_verdict ELSE 'unknown' END AS verdict,
        coalesce(
            board.told_verdict IN ('alive', 'degraded') AND clock.now <= board.holds_until, 0
        ) AS is_alive,
        CASE WHEN clock.now > board.holds_until THEN 'agent' ELSE board.told_blame END AS blame,
        CASE
            WHEN board.holds_until IS NULL OR clock.now <= board.holds_until THEN board.told_reason
            WHEN board.holds_until < board.told_at + 180000000 THEN 'its agent is silent'
            ELSE 'not confirmed for 3 min and more'
        END AS reason,
        CASE WHEN clock.now > board.holds_until THEN board.holds_until ELSE board.told_since END AS since,
        board.told_at AS last_heartbeat_at,
        (clock.now - board.told_at) / 1000000 AS age_s,
        (
            SELECT json_group_array(able.name)
            FROM (
                SELECT capability.name
                FROM board_capabilities AS has
                JOIN capabilities AS capability ON capability.uuid = has.capability
                WHERE has.board = board.uuid AND capability.is_active
                ORDER BY capability.name
            ) AS able
        ) AS capabilities
    FROM (
        SELECT
            board.*,
            current.timestamp AS told_at, current.verdict AS told_verdict, current.blame AS told_blame,
            current.reason AS told_reason, current.since AS told_since,
            min(current.timestamp + 180000000, ifnull(silence.silent_at, current.timestamp + 180000000)) AS holds_until
        FROM boards AS board
        LEFT JOIN board_current AS current ON current.board = board.number
        LEFT JOIN pc_silence AS silence ON silence.test_pc = current.test_pc
    ) AS board
    CROSS JOIN clock
    LEFT JOIN test_pcs AS owner ON owner.uuid = board.test_pc
    LEFT JOIN board_feeds AS feed ON feed.board = board.uuid AND feed.position = 1
    LEFT JOIN relays AS relay ON relay.uuid = feed.relay
) AS told
LEFT JOIN pc_overview AS pc ON pc.id = told.test_pc;
