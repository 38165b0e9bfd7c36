-- What there is: capabilities, test PCs, relays, boards, and what is wired to what.
--
-- Times are microseconds since 1970 UTC. Every entity has a UUID; relations use it. Beside it stands `id`, the
-- slug that topics and lab.toml use, and `number`, a small integer by which the time series refer to it: text keys
-- would nearly double them. `declared` is 0 for what an agent reported and lab.toml does not name.
-- Choices that a lab may extend (capability, platform, os_version) are checked when lab.toml is read; the
-- closed ones are checked here.

CREATE TABLE capabilities (
    uuid        TEXT NOT NULL PRIMARY KEY CHECK (length(uuid) = 36),
    name        TEXT NOT NULL UNIQUE CHECK (name <> ''),
    description TEXT,
    is_active   INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE test_pcs (
    number              INTEGER PRIMARY KEY,
    uuid                TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),
    id                  TEXT NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 63),
    name                TEXT,
    hostname            TEXT CHECK (length(hostname) BETWEEN 1 AND 255),
    hostname_clash      INTEGER NOT NULL DEFAULT 0 CHECK (hostname_clash IN (0, 1)),
    ip_address          TEXT CHECK (ip_address <> ''),
    observed_ip_address TEXT CHECK (observed_ip_address <> ''),
    domain_name         TEXT,
    os_version          TEXT CHECK (os_version = lower(os_version)),
    disk_mountpoint     TEXT NOT NULL DEFAULT '/',
    location            TEXT CHECK (length(location) <= 200),
    rack                TEXT CHECK (length(rack) <= 200),
    comment             TEXT,
    watched_by          TEXT REFERENCES test_pcs (uuid) ON DELETE SET NULL,
    maintenance_since   INTEGER,
    maintenance_by      TEXT,
    maintenance_reason  TEXT,
    hello               TEXT,
    hello_at            INTEGER,
    last_heartbeat_at   INTEGER,
    declared            INTEGER NOT NULL DEFAULT 1 CHECK (declared IN (0, 1)),
    retired_at          INTEGER,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    CHECK (maintenance_since IS NULL OR (maintenance_by IS NOT NULL AND maintenance_reason IS NOT NULL))
) STRICT;
-- Configured values are unique. Of the observed ones, the address moves to its newest reporter, and a second PC
-- of the same host name is flagged, so that neither ever fails a write.
CREATE UNIQUE INDEX test_pcs_hostname ON test_pcs (hostname) WHERE retired_at IS NULL AND hostname_clash = 0;
CREATE UNIQUE INDEX test_pcs_ip_address ON test_pcs (ip_address) WHERE retired_at IS NULL;
CREATE UNIQUE INDEX test_pcs_observed_ip ON test_pcs (observed_ip_address) WHERE retired_at IS NULL;
CREATE INDEX test_pcs_created_at ON test_pcs (created_at);
CREATE INDEX test_pcs_os_version ON test_pcs (os_version);

CREATE TABLE relays (
    number             INTEGER PRIMARY KEY,
    uuid               TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),
    id                 TEXT NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 63),
    relay_name         TEXT NOT NULL CHECK (length(relay_name) BETWEEN 1 AND 100),
    model_type         TEXT NOT NULL DEFAULT 'CUSTOM'
        CHECK (model_type IN ('POWER_EXTENSION', 'ETH_008_A', 'ETH_008_B', 'ETH_016', 'CUSTOM')),
    kind               TEXT,
    after_outage       TEXT NOT NULL DEFAULT 'leave' CHECK (after_outage IN ('leave', 'restore')),
    location           TEXT CHECK (length(location) <= 200),
    rack               TEXT CHECK (length(rack) <= 200),
    ip_address         TEXT CHECK (ip_address <> ''),  -- as configured; a host name will do as well
    tcp_port           INTEGER CHECK (tcp_port BETWEEN 1 AND 65535),
    unit               INTEGER CHECK (unit BETWEEN 0 AND 255),
    mac_address        TEXT CHECK (length(mac_address) = 17),
    port_count         INTEGER NOT NULL DEFAULT 8 CHECK (port_count BETWEEN 1 AND 100),
    module             TEXT NOT NULL DEFAULT '',
    last_checked_at    INTEGER,
    maintenance_since  INTEGER,
    maintenance_by     TEXT,
    maintenance_reason TEXT,
    declared           INTEGER NOT NULL DEFAULT 1 CHECK (declared IN (0, 1)),
    retired_at         INTEGER,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    CHECK (maintenance_since IS NULL OR (maintenance_by IS NOT NULL AND maintenance_reason IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX relays_name ON relays (relay_name) WHERE retired_at IS NULL;
CREATE UNIQUE INDEX relays_endpoint ON relays (lower(ip_address), ifnull(tcp_port, -1), ifnull(unit, -1))
    WHERE ip_address IS NOT NULL AND retired_at IS NULL;
CREATE UNIQUE INDEX relays_mac_address ON relays (mac_address) WHERE retired_at IS NULL;

CREATE TABLE boards (
    number                 INTEGER PRIMARY KEY,
    uuid                   TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),
    id                     TEXT NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 63),
    name                   TEXT,
    hardware_serial_number TEXT CHECK (length(hardware_serial_number) BETWEEN 1 AND 100),
    project                TEXT CHECK (length(project) <= 50),
    platform               TEXT,
    device_type            TEXT NOT NULL DEFAULT 'EVM'
        CHECK (device_type IN ('EVM', 'SOCKET_BOARD', 'BREAKOUT_BOARD', 'CUSTOM')),
    pg_version             TEXT CHECK (length(pg_version) <= 100),
    execution_engine       TEXT CHECK (length(execution_engine) <= 100),
    sdk_version            TEXT CHECK (length(sdk_version) <= 100),
    test_farm              TEXT CHECK (test_farm IN ('HLOS', 'RTOS', 'BAREMETAL', 'STAGING', 'INTEGRATION')),
    board_ip               TEXT CHECK (board_ip <> ''),
    serial_port            TEXT CHECK (serial_port <> ''),
    test_pc                TEXT REFERENCES test_pcs (uuid) ON DELETE SET NULL,
    console                TEXT NOT NULL DEFAULT 'when-idle' CHECK (console IN ('off', 'when-idle', 'tap')),
    normally               TEXT NOT NULL DEFAULT 'any' CHECK (normally IN ('on', 'off', 'any')),
    location               TEXT CHECK (length(location) <= 200),
    description            TEXT,
    notes                  TEXT,
    -- The axes of the status: use (with its lock), health, administration. Reachability is the verdict's.
    use_status             TEXT NOT NULL DEFAULT 'IDLE' CHECK (use_status IN ('IDLE', 'BUSY', 'UPDATING_SDK')),
    lock_id                TEXT,
    lock_owner             TEXT,
    lock_purpose           TEXT,
    lock_deadline          INTEGER,
    is_locked              INTEGER GENERATED ALWAYS AS (lock_id IS NOT NULL) VIRTUAL,
    error_since            INTEGER,
    error_reason           TEXT,
    deactivated_at         INTEGER,
    deactivated_by         TEXT,
    deactivated_reason     TEXT,
    last_sdk_update_at     INTEGER,
    last_used_at           INTEGER,
    declared               INTEGER NOT NULL DEFAULT 1 CHECK (declared IN (0, 1)),
    retired_at             INTEGER,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    CHECK (use_status = 'IDLE' OR lock_id IS NOT NULL),
    CHECK (lock_id IS NULL OR (lock_owner IS NOT NULL AND lock_deadline IS NOT NULL)),
    CHECK (error_since IS NULL OR error_reason IS NOT NULL),
    CHECK (deactivated_at IS NULL OR (deactivated_by IS NOT NULL AND deactivated_reason IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX boards_serial ON boards (hardware_serial_number) WHERE retired_at IS NULL;
CREATE INDEX boards_test_farm ON boards (test_farm);
CREATE INDEX boards_project ON boards (project);
CREATE INDEX boards_platform ON boards (platform);
CREATE INDEX boards_test_pc ON boards (test_pc);
CREATE INDEX boards_is_locked ON boards (is_locked);
CREATE INDEX boards_use_status ON boards (use_status);
CREATE INDEX boards_created_at ON boards (created_at DESC);

CREATE TABLE board_capabilities (
    board      TEXT NOT NULL REFERENCES boards (uuid) ON DELETE CASCADE,
    capability TEXT NOT NULL REFERENCES capabilities (uuid) ON DELETE RESTRICT,
    PRIMARY KEY (board, capability)
) STRICT, WITHOUT ROWID;
CREATE INDEX board_capabilities_capability ON board_capabilities (capability);

-- The relay ports that power a board, in the order of switching on. The first is the primary one.
CREATE TABLE board_feeds (
    uuid         TEXT NOT NULL PRIMARY KEY CHECK (length(uuid) = 36),
    board        TEXT NOT NULL REFERENCES boards (uuid) ON DELETE CASCADE,
    position     INTEGER NOT NULL CHECK (position >= 1),
    relay        TEXT NOT NULL REFERENCES relays (uuid) ON DELETE CASCADE,
    relay_number INTEGER NOT NULL CHECK (relay_number BETWEEN 1 AND 100),
    polarity     TEXT NOT NULL DEFAULT 'NO' CHECK (polarity IN ('NO', 'NC')),
    after_s      REAL NOT NULL DEFAULT 0 CHECK (after_s >= 0),
    off_time_s   REAL CHECK (off_time_s >= 0),
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    UNIQUE (board, position),
    UNIQUE (relay, relay_number)
) STRICT;

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
