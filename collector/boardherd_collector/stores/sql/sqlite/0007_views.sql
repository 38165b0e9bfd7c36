-- The views again, with everything that is derived: what people and dashboards read. Nothing here is stored.
-- A PC counts as online for 30 s after it was last heard, a board's verdict and a port's state for 3 min after they
-- were last confirmed: three of their intervals. A lock ends with its deadline.

DROP VIEW board_summary_by_platform;
DROP VIEW board_summary_by_test_farm;
DROP VIEW board_overview;
DROP VIEW relay_overview;
DROP VIEW relay_port_overview;
DROP VIEW pc_overview;

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
            WHEN pc.last_heartbeat_at IS NULL OR clock.now - pc.last_heartbeat_at > 30000000 THEN 'OFFLINE'
            WHEN current.timestamp IS NULL THEN 'INITIALIZING'
            ELSE 'ONLINE'
        END AS status,
        current.timestamp AS sampled_at,
        current.status AS health,
        current.status = 'HEALTHY' AS is_healthy,
        current.record AS sample
    FROM test_pcs AS pc
    CROSS JOIN clock
    LEFT JOIN test_pcs AS watcher ON watcher.uuid = pc.watched_by
    LEFT JOIN pc_current AS current ON current.test_pc = pc.number
) AS told;

CREATE VIEW relay_port_overview AS
SELECT
    relay.id AS relay, current.port, pc.id AS test_pc, board.id AS board, line.name AS line,
    CASE WHEN clock.now - current.timestamp > 180000000 THEN 'unknown' ELSE current.observed END AS observed,
    current.asked, current.expected, current.drift, current.drift_since,
    coalesce(feed.polarity, line.polarity) AS polarity,
    json_extract(current.record, '$.since') AS since,
    json_extract(current.record, '$.switch_count') AS switch_count,
    json_extract(current.record, '$.switched_at') AS switched_at,
    json_extract(current.record, '$.switched_by') AS switched_by,
    current.wiring_proved_at,
    current.timestamp AS last_confirmed_at,
    (clock.now - current.timestamp) / 1000000 AS age_s,
    current.record
FROM relay_port_current AS current
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
            ELSE 'FAULT'
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
        CASE
            WHEN current.timestamp IS NULL OR clock.now - current.timestamp > 180000000 THEN 'unknown'
            ELSE current.verdict
        END AS verdict,
        coalesce(
            current.verdict IN ('alive', 'degraded') AND clock.now - current.timestamp <= 180000000, 0
        ) AS is_alive,
        CASE WHEN clock.now - current.timestamp > 180000000 THEN 'agent' ELSE current.blame END AS blame,
        CASE
            WHEN clock.now - current.timestamp > 180000000 THEN 'not confirmed for 3 min and more'
            ELSE current.reason
        END AS reason,
        CASE
            WHEN clock.now - current.timestamp > 180000000 THEN current.timestamp + 180000000
            ELSE current.since
        END AS since,
        current.timestamp AS last_heartbeat_at,
        (clock.now - current.timestamp) / 1000000 AS age_s,
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
    sum(status NOT IN ('DEACTIVATED', 'ERROR')) AS active,
    sum(status = 'IDLE') AS idle,
    sum(status = 'BUSY') AS busy,
    sum(status = 'UPDATING_SDK') AS updating_sdk,
    sum(status = 'OFFLINE') AS offline,
    sum(status = 'DEACTIVATED') AS deactivated,
    sum(status = 'ERROR') AS error,
    sum(is_alive) AS alive,
    sum(is_locked) AS locked,
    sum(can_execute_test) AS available
FROM board_overview WHERE retired_at IS NULL GROUP BY test_farm;

CREATE VIEW board_summary_by_platform AS
SELECT
    platform,
    count(*) AS boards,
    sum(status NOT IN ('DEACTIVATED', 'ERROR')) AS active,
    sum(status = 'IDLE') AS idle,
    sum(status = 'BUSY') AS busy,
    sum(status = 'UPDATING_SDK') AS updating_sdk,
    sum(status = 'OFFLINE') AS offline,
    sum(status = 'DEACTIVATED') AS deactivated,
    sum(status = 'ERROR') AS error,
    sum(is_alive) AS alive,
    sum(is_locked) AS locked,
    sum(can_execute_test) AS available
FROM board_overview WHERE retired_at IS NULL GROUP BY platform;

-- Days, from the hours: averages weigh by the samples of each hour.
CREATE VIEW pc_stats_1d AS
SELECT
    test_pc,
    bucket - bucket % 86400000000 AS bucket,
    sum(samples) AS samples,
    sum(healthy) AS healthy,
    sum(warning) AS warning,
    sum(critical) AS critical,
    sum(cpu_percent_avg * samples) / sum(CASE WHEN cpu_percent_avg IS NOT NULL THEN samples END) AS cpu_percent_avg,
    min(cpu_percent_min) AS cpu_percent_min, max(cpu_percent_max) AS cpu_percent_max,
    sum(memory_percent_avg * samples) / sum(CASE WHEN memory_percent_avg IS NOT NULL THEN samples END) AS memory_percent_avg,
    min(memory_percent_min) AS memory_percent_min, max(memory_percent_max) AS memory_percent_max,
    sum(memory_used_gb_avg * samples) / sum(CASE WHEN memory_used_gb_avg IS NOT NULL THEN samples END) AS memory_used_gb_avg,
    min(memory_used_gb_min) AS memory_used_gb_min, max(memory_used_gb_max) AS memory_used_gb_max,
    sum(swap_used_gb_avg * samples) / sum(CASE WHEN swap_used_gb_avg IS NOT NULL THEN samples END) AS swap_used_gb_avg,
    min(swap_used_gb_min) AS swap_used_gb_min, max(swap_used_gb_max) AS swap_used_gb_max,
    sum(disk_percent_avg * samples) / sum(CASE WHEN disk_percent_avg IS NOT NULL THEN samples END) AS disk_percent_avg,
    min(disk_percent_min) AS disk_percent_min, max(disk_percent_max) AS disk_percent_max,
    sum(disk_used_gb_avg * samples) / sum(CASE WHEN disk_used_gb_avg IS NOT NULL THEN samples END) AS disk_used_gb_avg,
    min(disk_used_gb_min) AS disk_used_gb_min, max(disk_used_gb_max) AS disk_used_gb_max,
    sum(disk_free_gb_avg * samples) / sum(CASE WHEN disk_free_gb_avg IS NOT NULL THEN samples END) AS disk_free_gb_avg,
    min(disk_free_gb_min) AS disk_free_gb_min, max(disk_free_gb_max) AS disk_free_gb_max,
    sum(load_1m_avg * samples) / sum(CASE WHEN load_1m_avg IS NOT NULL THEN samples END) AS load_1m_avg,
    min(load_1m_min) AS load_1m_min, max(load_1m_max) AS load_1m_max,
    sum(process_count_avg * samples) / sum(CASE WHEN process_count_avg IS NOT NULL THEN samples END) AS process_count_avg,
    min(process_count_min) AS process_count_min, max(process_count_max) AS process_count_max,
    sum(thread_count_avg * samples) / sum(CASE WHEN thread_count_avg IS NOT NULL THEN samples END) AS thread_count_avg,
    min(thread_count_min) AS thread_count_min, max(thread_count_max) AS thread_count_max,
    sum(temperature_c_avg * samples) / sum(CASE WHEN temperature_c_avg IS NOT NULL THEN samples END) AS temperature_c_avg,
    min(temperature_c_min) AS temperature_c_min, max(temperature_c_max) AS temperature_c_max,
    max(memory_total_gb_max) AS memory_total_gb_max,
    max(disk_total_gb_max) AS disk_total_gb_max,
    max(network_io_read_mb_max) AS network_io_read_mb_max,
    max(network_io_write_mb_max) AS network_io_write_mb_max,
    max(disk_read_mb_max) AS disk_read_mb_max,
    max(disk_written_mb_max) AS disk_written_mb_max
FROM pc_stats_1h GROUP BY test_pc, bucket - bucket % 86400000000;
