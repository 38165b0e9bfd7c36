-- The rest of the domain: what is derived, lines, uses, and what becomes of what a person deletes.

ALTER TABLE pc_stats ADD COLUMN is_healthy boolean GENERATED ALWAYS AS (status = 'HEALTHY') STORED;
ALTER TABLE pc_stats ADD COLUMN memory_available_gb double precision
    GENERATED ALWAYS AS (memory_total_gb - memory_used_gb) STORED;

-- Whether it was said by another PC than the one whose word counts for the board.
ALTER TABLE board_liveness ADD COLUMN contested boolean NOT NULL DEFAULT false;

-- A hardware address is six pairs of hexadecimal digits with colons or with dashes between them.
ALTER TABLE relays ADD CONSTRAINT relays_mac_address_form
    CHECK (mac_address ~ '^([0-9A-F]{2}:){5}[0-9A-F]{2}$' OR mac_address ~ '^([0-9A-F]{2}-){5}[0-9A-F]{2}$');

-- Whether a port is other than asked for or normal, and since when.
ALTER TABLE relay_port_current ADD COLUMN drift boolean GENERATED ALWAYS AS (
    observed <> 'unknown'
    AND ((asked <> 'unknown' AND asked <> observed) OR (expected <> 'any' AND expected <> observed))
) STORED;
ALTER TABLE relay_port_current ADD COLUMN drift_since timestamptz;
ALTER TABLE relay_port_current ADD COLUMN wiring_proved_at timestamptz;
UPDATE relay_port_current SET drift_since = timestamp WHERE drift;
CREATE FUNCTION note_drift() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Generated columns are worked out only after this.
    drifts boolean := NEW.observed <> 'unknown' AND (
        (NEW.asked <> 'unknown' AND NEW.asked <> NEW.observed)
        OR (NEW.expected <> 'any' AND NEW.expected <> NEW.observed)
    );
BEGIN
    IF NOT drifts THEN
        NEW.drift_since := NULL;
    ELSIF TG_OP = 'INSERT' THEN
        NEW.drift_since := NEW.timestamp;
    ELSIF NOT OLD.drift THEN
        NEW.drift_since := NEW.timestamp;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER relay_port_current_drift BEFORE INSERT OR UPDATE OF observed, asked, expected ON relay_port_current
    FOR EACH ROW EXECUTE FUNCTION note_drift();

-- Relay ports that are not power: reset, boot mode. A port belongs to one feed or one line.
CREATE TABLE board_lines (
    uuid         uuid NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    board        uuid NOT NULL REFERENCES boards (uuid) ON DELETE CASCADE,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    relay        uuid NOT NULL REFERENCES relays (uuid) ON DELETE CASCADE,
    relay_number integer NOT NULL CHECK (relay_number BETWEEN 1 AND 100),
    polarity     text NOT NULL DEFAULT 'NO' CHECK (polarity IN ('NO', 'NC')),
    kind         text NOT NULL DEFAULT 'pulse' CHECK (kind IN ('pulse', 'level')),
    pulse_s      double precision CHECK (pulse_s > 0),
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (board, name),
    UNIQUE (relay, relay_number),
    CHECK (kind = 'level' OR pulse_s IS NOT NULL)
);
CREATE FUNCTION refuse_taken_port() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'board_lines' THEN
        IF EXISTS (SELECT 1 FROM board_feeds WHERE relay = NEW.relay AND relay_number = NEW.relay_number) THEN
            RAISE EXCEPTION 'the port feeds a board' USING ERRCODE = 'unique_violation';
        END IF;
    ELSIF EXISTS (SELECT 1 FROM board_lines WHERE relay = NEW.relay AND relay_number = NEW.relay_number) THEN
        RAISE EXCEPTION 'the port is a line of a board' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER board_lines_port_taken BEFORE INSERT OR UPDATE OF relay, relay_number ON board_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_taken_port();
CREATE TRIGGER board_feeds_port_taken BEFORE INSERT OR UPDATE OF relay, relay_number ON board_feeds
    FOR EACH ROW EXECUTE FUNCTION refuse_taken_port();

-- Who used a board, when and what for. A use without an end goes on.
CREATE TABLE board_usage (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    board      integer NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,
    who        text NOT NULL CHECK (who <> ''),
    purpose    text NOT NULL,
    CHECK (ended_at >= started_at)
);
CREATE INDEX board_usage_board ON board_usage (board, started_at DESC);
CREATE INDEX board_usage_ended_at ON board_usage (ended_at);
CREATE UNIQUE INDEX board_usage_open ON board_usage (board) WHERE ended_at IS NULL;

CREATE INDEX test_pcs_last_heartbeat_at ON test_pcs (last_heartbeat_at);
CREATE INDEX test_pcs_maintenance ON test_pcs (maintenance_since) WHERE maintenance_since IS NOT NULL;
CREATE INDEX boards_error ON boards (error_since) WHERE error_since IS NOT NULL;
CREATE INDEX boards_deactivated ON boards (deactivated_at) WHERE deactivated_at IS NOT NULL;
CREATE INDEX boards_lock_deadline ON boards (lock_deadline) WHERE lock_id IS NOT NULL;
CREATE INDEX commands_action ON commands (action, began_at DESC);

-- What a person deleted: the rows that carry its number go bit by bit. The streams and the current state go with it
-- at once, so that an agent that lives on begins anew and sends all it has.
CREATE TABLE tombstones (
    entity     text NOT NULL CHECK (entity IN ('test_pcs', 'relays', 'boards')),
    number     integer NOT NULL,
    id         text NOT NULL,
    deleted_at timestamptz NOT NULL,
    PRIMARY KEY (entity, number)
);
CREATE FUNCTION bury_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tombstones (entity, number, id, deleted_at)
        VALUES (TG_TABLE_NAME, OLD.number, OLD.id, statement_timestamp())
        ON CONFLICT (entity, number) DO UPDATE SET id = excluded.id, deleted_at = excluded.deleted_at;
    IF TG_TABLE_NAME = 'test_pcs' THEN
        DELETE FROM streams WHERE test_pc = OLD.number;
        DELETE FROM boot_clocks WHERE test_pc = OLD.number;
        DELETE FROM pc_current WHERE test_pc = OLD.number;
    ELSIF TG_TABLE_NAME = 'relays' THEN
        DELETE FROM relay_port_current WHERE relay = OLD.number;
    ELSE
        DELETE FROM board_current WHERE board = OLD.number;
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER test_pcs_deleted AFTER DELETE ON test_pcs FOR EACH ROW EXECUTE FUNCTION bury_deleted();
CREATE TRIGGER relays_deleted AFTER DELETE ON relays FOR EACH ROW EXECUTE FUNCTION bury_deleted();
CREATE TRIGGER boards_deleted AFTER DELETE ON boards FOR EACH ROW EXECUTE FUNCTION bury_deleted();
