-- The rest of the domain: what is derived, lines, uses, and what becomes of what a person deletes.

ALTER TABLE pc_stats ADD COLUMN is_healthy INTEGER GENERATED ALWAYS AS (status = 'HEALTHY') VIRTUAL;
ALTER TABLE pc_stats ADD COLUMN memory_available_gb REAL
    GENERATED ALWAYS AS (memory_total_gb - memory_used_gb) VIRTUAL;

-- A hardware address is six pairs of hexadecimal digits with colons or with dashes between them.
CREATE TRIGGER relays_mac_address_new BEFORE INSERT ON relays
WHEN NEW.mac_address NOT GLOB
        '[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]'
    AND NEW.mac_address NOT GLOB
        '[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]'
BEGIN SELECT RAISE(ABORT, 'mac_address must be XX:XX:XX:XX:XX:XX, in capitals'); END;
CREATE TRIGGER relays_mac_address_set BEFORE UPDATE OF mac_address ON relays
WHEN NEW.mac_address NOT GLOB
        '[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]:[0-9A-F][0-9A-F]'
    AND NEW.mac_address NOT GLOB
        '[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]-[0-9A-F][0-9A-F]'
BEGIN SELECT RAISE(ABORT, 'mac_address must be XX:XX:XX:XX:XX:XX, in capitals'); END;

-- Whether a port is other than asked for or normal, and since when.
ALTER TABLE relay_port_current ADD COLUMN drift INTEGER GENERATED ALWAYS AS (
    observed <> 'unknown'
    AND ((asked <> 'unknown' AND asked <> observed) OR (expected <> 'any' AND expected <> observed))
) VIRTUAL;
ALTER TABLE relay_port_current ADD COLUMN drift_since INTEGER;
ALTER TABLE relay_port_current ADD COLUMN wiring_proved_at INTEGER;
UPDATE relay_port_current SET drift_since = timestamp WHERE drift;
CREATE TRIGGER relay_port_current_new AFTER INSERT ON relay_port_current WHEN NEW.drift
BEGIN
    UPDATE relay_port_current SET drift_since = NEW.timestamp WHERE relay = NEW.relay AND port = NEW.port;
END;
CREATE TRIGGER relay_port_current_changed AFTER UPDATE OF observed, asked, expected ON relay_port_current
WHEN NEW.drift <> OLD.drift
BEGIN
    UPDATE relay_port_current SET drift_since = CASE WHEN NEW.drift THEN NEW.timestamp END
    WHERE relay = NEW.relay AND port = NEW.port;
END;

-- Whether it was told by a PC that does not control the board: kept in history, and believed nowhere.
ALTER TABLE board_liveness ADD COLUMN contested INTEGER NOT NULL DEFAULT 0 CHECK (contested IN (0, 1));

-- Relay ports that are not power: reset, boot mode. A port belongs to one feed or one line.
CREATE TABLE board_lines (
    uuid         TEXT NOT NULL PRIMARY KEY CHECK (length(uuid) = 36),
    board        TEXT NOT NULL REFERENCES boards (uuid) ON DELETE CASCADE,
    name         TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    relay        TEXT NOT NULL REFERENCES relays (uuid) ON DELETE CASCADE,
    relay_number INTEGER NOT NULL CHECK (relay_number BETWEEN 1 AND 100),
    polarity     TEXT NOT NULL DEFAULT 'NO' CHECK (polarity IN ('NO', 'NC')),
    kind         TEXT NOT NULL DEFAULT 'pulse' CHECK (kind IN ('pulse', 'level')),
    pulse_s      REAL CHECK (pulse_s > 0),
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    UNIQUE (board, name),
    UNIQUE (relay, relay_number),
    CHECK (kind = 'level' OR pulse_s IS NOT NULL)
) STRICT;
CREATE TRIGGER board_lines_port_taken BEFORE INSERT ON board_lines
WHEN EXISTS (SELECT 1 FROM board_feeds WHERE relay = NEW.relay AND relay_number = NEW.relay_number)
BEGIN SELECT RAISE(ABORT, 'the port feeds a board'); END;
CREATE TRIGGER board_feeds_port_taken BEFORE INSERT ON board_feeds
WHEN EXISTS (SELECT 1 FROM board_lines WHERE relay = NEW.relay AND relay_number = NEW.relay_number)
BEGIN SELECT RAISE(ABORT, 'the port is a line of a board'); END;
CREATE TRIGGER board_lines_port_moved BEFORE UPDATE OF relay, relay_number ON board_lines
WHEN EXISTS (SELECT 1 FROM board_feeds WHERE relay = NEW.relay AND relay_number = NEW.relay_number)
BEGIN SELECT RAISE(ABORT, 'the port feeds a board'); END;
CREATE TRIGGER board_feeds_port_moved BEFORE UPDATE OF relay, relay_number ON board_feeds
WHEN EXISTS (SELECT 1 FROM board_lines WHERE relay = NEW.relay AND relay_number = NEW.relay_number)
BEGIN SELECT RAISE(ABORT, 'the port is a line of a board'); END;

-- Who used a board, when and what for. A use without an end goes on.
CREATE TABLE board_usage (
    number     INTEGER PRIMARY KEY,
    board      INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    who        TEXT NOT NULL CHECK (who <> ''),
    purpose    TEXT NOT NULL,
    CHECK (ended_at >= started_at)
) STRICT;
CREATE INDEX board_usage_board ON board_usage (board, started_at DESC);
CREATE INDEX board_usage_ended_at ON board_usage (ended_at);
CREATE UNIQUE INDEX board_usage_open ON board_usage (board) WHERE ended_at IS NULL;

CREATE INDEX test_pcs_last_heartbeat_at ON test_pcs (last_heartbeat_at);
CREATE INDEX test_pcs_maintenance ON test_pcs (maintenance_since) WHERE maintenance_since IS NOT NULL;
CREATE INDEX boards_error ON boards (error_since) WHERE error_since IS NOT NULL;
CREATE INDEX boards_deactivated ON boards (deactivated_at) WHERE deactivated_at IS NOT NULL;
CREATE INDEX boards_lock_deadline ON boards (lock_deadline) WHERE lock_id IS NOT NULL;
CREATE INDEX commands_action ON commands (action, began_at DESC);

-- What a person deleted: its number is not given out again before the rows that carry it are gone. The streams
-- and the current state go with it at once, so that an agent that lives on begins anew and sends all it has.
CREATE TABLE tombstones (
    entity     TEXT NOT NULL CHECK (entity IN ('test_pcs', 'relays', 'boards')),
    number     INTEGER NOT NULL,
    id         TEXT NOT NULL,
    deleted_at INTEGER NOT NULL,
    PRIMARY KEY (entity, number)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER test_pcs_deleted AFTER DELETE ON test_pcs
BEGIN
    INSERT OR REPLACE INTO tombstones (entity, number, id, deleted_at)
        VALUES ('test_pcs', OLD.number, OLD.id, CAST(strftime('%s', 'now') AS INTEGER) * 1000000);
    DELETE FROM streams WHERE test_pc = OLD.number;
    DELETE FROM boot_clocks WHERE test_pc = OLD.number;
    DELETE FROM pc_current WHERE test_pc = OLD.number;
END;
CREATE TRIGGER relays_deleted AFTER DELETE ON relays
BEGIN
    INSERT OR REPLACE INTO tombstones (entity, number, id, deleted_at)
        VALUES ('relays', OLD.number, OLD.id, CAST(strftime('%s', 'now') AS INTEGER) * 1000000);
    DELETE FROM relay_port_current WHERE relay = OLD.number;
END;
CREATE TRIGGER boards_deleted AFTER DELETE ON boards
BEGIN
    INSERT OR REPLACE INTO tombstones (entity, number, id, deleted_at)
        VALUES ('boards', OLD.number, OLD.id, CAST(strftime('%s', 'now') AS INTEGER) * 1000000);
    DELETE FROM board_current WHERE board = OLD.number;
END;
