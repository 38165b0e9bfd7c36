-- What power cycles have shown: whether boards hang on the ports that they should, and how long they took to boot.

ALTER TABLE boots ADD COLUMN spl_s double precision CHECK (spl_s >= 0);
ALTER TABLE boots ADD COLUMN slow text;

-- The last lines of a board's console before the event, oldest first.
ALTER TABLE events ADD COLUMN words jsonb;

-- What was told last; it holds until something else is, whether the agent is heard or not.
ALTER TABLE board_current ADD COLUMN wiring text CHECK (wiring IN ('unproved', 'proved', 'suspect'));
ALTER TABLE board_current ADD COLUMN wiring_at timestamptz;
ALTER TABLE board_current ADD COLUMN wiring_text text;
ALTER TABLE board_current ADD COLUMN slow text;

-- The columns stay where they are, and new ones follow, so that the view can be replaced under those that rest on it.
CREATE OR REPLACE VIEW board_overview AS
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
        AND NOT told.is_locked AND coalesce(pc.is_available_for_testing, false) AS can_execute_test,
    word.wiring, word.wiring_at, word.wiring_text, word.slow
FROM (
    SELECT
        board.uuid, board.number, board.id, board.name, board.hardware_serial_number, board.project, board.platform,
        board.device_type, board.pg_version, board.execution_engine, board.sdk_version, board.test_farm,
        board.board_ip, board.serial_port, board.console, board.normally, board.location, board.description,
        board.notes,
        CASE WHEN board.lock_deadline > clock.now THEN board.use_status ELSE 'IDLE' END AS use_status,
        coalesce(board.is_locked AND board.lock_deadline > clock.now, false) AS is_locked,
        board.lock_id, board.lock_owner, board.lock_purpose, board.lock_deadline,
        board.error_since, board.error_reason, board.deactivated_at, board.deactivated_by,
        board.deactivated_reason, board.last_sdk_update_at, board.last_used_at, board.declared, board.retired_at,
        board.created_at, board.updated_at,
        owner.id AS test_pc,
        relay.id AS relay, feed.relay_number,
        CASE WHEN clock.now <= board.holds_until THEN board.told_verdict ELSE 'unknown' END AS verdict,
        coalesce(
            board.told_verdict IN ('alive', 'degraded') AND clock.now <= board.holds_until, false
        ) AS is_alive,
        CASE WHEN clock.now > board.holds_until THEN 'agent' ELSE board.told_blame END AS blame,
        CASE
            WHEN board.holds_until IS NULL OR clock.now <= board.holds_until THEN board.told_reason
            WHEN board.holds_until < board.told_at + interval '3 min' THEN 'its agent is silent'
            ELSE 'not confirmed for 3 min and more'
        END AS reason,
        CASE WHEN clock.now > board.holds_until THEN board.holds_until ELSE board.told_since END AS since,
        board.told_at AS last_heartbeat_at,
        floor(extract(epoch FROM clock.now - board.told_at))::bigint AS age_s,
        ARRAY(
            SELECT capability.name
            FROM board_capabilities AS has
            JOIN capabilities AS capability ON capability.uuid = has.capability
            WHERE has.board = board.uuid AND capability.is_active
            ORDER BY capability.name COLLATE "C"
        ) AS capabilities
    FROM (
        SELECT
            board.*,
            current.timestamp AS told_at, current.verdict AS told_verdict, current.blame AS told_blame,
            current.reason AS told_reason, current.since AS told_since,
            least(current.timestamp + interval '3 min', silence.silent_at) AS holds_until
        FROM boards AS board
        LEFT JOIN board_current AS current ON current.board = board.number
        LEFT JOIN pc_silence AS silence ON silence.test_pc = current.test_pc
    ) AS board
    CROSS JOIN clock
    LEFT JOIN test_pcs AS owner ON owner.uuid = board.test_pc
    LEFT JOIN board_feeds AS feed ON feed.board = board.uuid AND feed.position = 1
    LEFT JOIN relays AS relay ON relay.uuid = feed.relay
) AS told
LEFT JOIN pc_overview AS pc ON pc.id = told.test_pc
LEFT JOIN board_current AS word ON word.board = told.number;
