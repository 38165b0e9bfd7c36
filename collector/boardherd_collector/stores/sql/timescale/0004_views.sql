-- What people and dashboards read. Nothing here is stored: what ages is computed from the clock at each reading.
-- A PC counts as online for 30 s after it was last heard, a board's verdict and a port's state for 3 min after they
-- were last confirmed: three of their intervals.

CREATE VIEW clock AS SELECT statement_timestamp() AS now;

CREATE VIEW pc_overview AS
SELECT
    pc.uuid, pc.id, pc.name, pc.hostname, pc.hostname_clash,
    coalesce(pc.observed_ip_address, pc.ip_address) AS ip_address,
    pc.domain_name, pc.os_version, pc.disk_mountpoint, pc.location, pc.rack, pc.comment, pc.declared, pc.retired_at,
    pc.last_heartbeat_at,
    extract(epoch FROM clock.now - pc.last_heartbeat_at)::bigint AS age_s,
    CASE
        WHEN pc.maintenance_since IS NOT NULL THEN 'MAINTENANCE'
        WHEN pc.last_heartbeat_at IS NULL OR clock.now - pc.last_heartbeat_at > interval '30 s' THEN 'OFFLINE'
        WHEN current.timestamp IS NULL THEN 'INITIALIZING'
        ELSE 'ONLINE'
    END AS status,
    current.timestamp AS sampled_at,
    current.status AS health,
    current.record AS sample
FROM test_pcs AS pc
CROSS JOIN clock
LEFT JOIN pc_current AS current ON current.test_pc = pc.number;

CREATE VIEW relay_port_overview AS
SELECT
    relay.id AS relay, current.port, pc.id AS test_pc, board.id AS board,
    CASE WHEN clock.now - current.timestamp > interval '3 min' THEN 'unknown' ELSE current.observed END AS observed,
    current.asked, current.expected,
    extract(epoch FROM clock.now - current.timestamp)::bigint AS age_s,
    current.record
FROM relay_port_current AS current
CROSS JOIN clock
JOIN relays AS relay ON relay.number = current.relay
LEFT JOIN test_pcs AS pc ON pc.number = current.test_pc
LEFT JOIN board_feeds AS feed ON feed.relay = relay.uuid AND feed.relay_number = current.port
LEFT JOIN boards AS board ON board.uuid = feed.board;

CREATE VIEW relay_overview AS
SELECT
    relay.uuid, relay.id, relay.relay_name, relay.model_type, relay.ip_address, relay.mac_address, relay.port_count,
    relay.module, relay.location, relay.rack, relay.last_checked_at, relay.retired_at,
    CASE
        WHEN relay.maintenance_since IS NOT NULL THEN 'MAINTENANCE'
        WHEN relay.last_checked_at IS NULL THEN 'INACTIVE'
        WHEN EXISTS (
            SELECT 1 FROM relay_port_overview AS port
            WHERE port.relay = relay.id AND port.observed <> 'unknown'
        ) THEN 'ACTIVE'
        ELSE 'FAULT'
    END AS status
FROM relays AS relay;

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
        AND NOT told.is_locked AND coalesce(pc.status IN ('ONLINE', 'INITIALIZING'), false) AS can_execute_test
FROM (
    SELECT
        board.uuid, board.number, board.id, board.name, board.hardware_serial_number, board.project, board.platform,
        board.device_type, board.pg_version, board.execution_engine, board.sdk_version, board.test_farm,
        board.board_ip, board.serial_port, board.console, board.normally, board.location, board.description,
        board.notes, board.use_status, board.is_locked, board.lock_id, board.lock_owner, board.lock_purpose,
        board.lock_deadline, board.error_since, board.error_reason, board.deactivated_at, board.deactivated_by,
        board.deactivated_reason, board.last_sdk_update_at, board.last_used_at, board.retired_at, board.created_at,
        owner.id AS test_pc,
        relay.id AS relay, feed.relay_number,
        CASE
            WHEN current.timestamp IS NULL OR clock.now - current.timestamp > interval '3 min' THEN 'unknown'
            ELSE current.verdict
        END AS verdict,
        coalesce(
            current.verdict IN ('alive', 'degraded') AND clock.now - current.timestamp <= interval '3 min', false
        ) AS is_alive,
        current.blame, current.reason, current.since,
        current.timestamp AS last_heartbeat_at,
        extract(epoch FROM clock.now - current.timestamp)::bigint AS age_s
    FROM boards AS board
    CROSS JOIN clock
    LEFT JOIN test_pcs AS owner ON owner.uuid = board.test_pc
    LEFT JOIN board_current AS current ON current.board = board.number
    LEFT JOIN board_feeds AS feed ON feed.board = board.uuid AND feed.position = 1
    LEFT JOIN relays AS relay ON relay.uuid = feed.relay
) AS told
LEFT JOIN pc_overview AS pc ON pc.id = told.test_pc;

CREATE VIEW board_summary_by_test_farm AS
SELECT
    test_farm,
    count(*) AS boards,
    count(*) FILTER (WHERE status NOT IN ('DEACTIVATED', 'ERROR')) AS active,
    count(*) FILTER (WHERE status = 'IDLE') AS idle,
    count(*) FILTER (WHERE status = 'BUSY') AS busy,
    count(*) FILTER (WHERE status = 'UPDATING_SDK') AS updating_sdk,
    count(*) FILTER (WHERE status = 'OFFLINE') AS offline,
    count(*) FILTER (WHERE status = 'DEACTIVATED') AS deactivated,
    count(*) FILTER (WHERE status = 'ERROR') AS error,
    count(*) FILTER (WHERE is_alive) AS alive,
    count(*) FILTER (WHERE is_locked) AS locked,
    count(*) FILTER (WHERE can_execute_test) AS available
FROM board_overview WHERE retired_at IS NULL GROUP BY test_farm;

CREATE VIEW board_summary_by_platform AS
SELECT
    platform,
    count(*) AS boards,
    count(*) FILTER (WHERE status NOT IN ('DEACTIVATED', 'ERROR')) AS active,
    count(*) FILTER (WHERE status = 'IDLE') AS idle,
    count(*) FILTER (WHERE status = 'BUSY') AS busy,
    count(*) FILTER (WHERE status = 'UPDATING_SDK') AS updating_sdk,
    count(*) FILTER (WHERE status = 'OFFLINE') AS offline,
    count(*) FILTER (WHERE status = 'DEACTIVATED') AS deactivated,
    count(*) FILTER (WHERE status = 'ERROR') AS error,
    count(*) FILTER (WHERE is_alive) AS alive,
    count(*) FILTER (WHERE is_locked) AS locked,
    count(*) FILTER (WHERE can_execute_test) AS available
FROM board_overview WHERE retired_at IS NULL GROUP BY platform;
