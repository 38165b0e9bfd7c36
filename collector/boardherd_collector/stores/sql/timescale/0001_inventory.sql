-- What there is: capabilities, test PCs, relays, boards, and what is wired to what.
--
-- Every entity has a UUID; relations use it. Beside it stands `id`, the slug that topics and lab.toml use, and
-- `number`, a small integer by which the time series refer to it. `declared` is false for what an agent reported
-- and lab.toml does not name.
-- Choices that a lab may extend (capability, platform, os_version) are checked when lab.toml is read; the
-- closed ones are checked here.

CREATE TABLE capabilities (
    uuid        uuid NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text NOT NULL UNIQUE CHECK (name <> ''),
    description text,
    is_active   boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

CREATE TABLE test_pcs (
    number              integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    uuid                uuid NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    id                  text NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 63),
    name                text,
    hostname            text CHECK (length(hostname) BETWEEN 1 AND 255),
    hostname_clash      boolean NOT NULL DEFAULT false,
    ip_address          text CHECK (ip_address <> ''),
    observed_ip_address text CHECK (observed_ip_address <> ''),
    domain_name         text,
    os_version          text CHECK (os_version = lower(os_version)),
    disk_mountpoint     text NOT NULL DEFAULT '/',
    location            text CHECK (length(location) <= 200),
    rack                text CHECK (length(rack) <= 200),
    comment             text,
    watched_by          uuid REFERENCES test_pcs (uuid) ON DELETE SET NULL,
    maintenance_since   timestamptz,
    maintenance_by      text,
    maintenance_reason  text,
    hello               jsonb,
    hello_at            timestamptz,
    last_heartbeat_at   timestamptz,
    declared            boolean NOT NULL DEFAULT true,
    retired_at          timestamptz,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    CHECK (maintenance_since IS NULL OR (maintenance_by IS NOT NULL AND maintenance_reason IS NOT NULL))
) WITH (fillfactor = 70);
-- Configured values are unique. Of the observed ones, the address moves to its newest reporter, and a second PC
-- of the same host name is flagged, so that neither ever fails a write.
CREATE UNIQUE INDEX test_pcs_hostname ON test_pcs (hostname) WHERE retired_at IS NULL AND NOT hostname_clash;
CREATE UNIQUE INDEX test_pcs_ip_address ON test_pcs (ip_address) WHERE retired_at IS NULL;
CREATE UNIQUE INDEX test_pcs_observed_ip ON test_pcs (observed_ip_address) WHERE retired_at IS NULL;
CREATE INDEX test_pcs_created_at ON test_pcs (created_at);
CREATE INDEX test_pcs_os_version ON test_pcs (os_version);

CREATE TABLE relays (
    number             integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    uuid               uuid NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    id                 text NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 63),
    relay_name         text NOT NULL CHECK (length(relay_name) BETWEEN 1 AND 100),
    model_type         text NOT NULL DEFAULT 'CUSTOM'
        CHECK (model_type IN ('POWER_EXTENSION', 'ETH_008_A', 'ETH_008_B', 'ETH_016', 'CUSTOM')),
    kind               text,
    after_outage       text NOT NULL DEFAULT 'leave' CHECK (after_outage IN ('leave', 'restore')),
    location           text CHECK (length(location) <= 200),
    rack               text CHECK (length(rack) <= 200),
    ip_address         text CHECK (ip_address <> ''),  -- as configured; a host name will do as well
    tcp_port           integer CHECK (tcp_port BETWEEN 1 AND 65535),
    unit               integer CHECK (unit BETWEEN 0 AND 255),
    mac_address        text CHECK (length(mac_address) = 17),
    port_count         integer NOT NULL DEFAULT 8 CHECK (port_count BETWEEN 1 AND 100),
    module             text NOT NULL DEFAULT '',
    last_checked_at    timestamptz,
    maintenance_since  timestamptz,
    maintenance_by     text,
    maintenance_reason text,
    declared           boolean NOT NULL DEFAULT true,
    retired_at         timestamptz,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    CHECK (maintenance_since IS NULL OR (maintenance_by IS NOT NULL AND maintenance_reason IS NOT NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX relays_name ON relays (relay_name) WHERE retired_at IS NULL;
CREATE UNIQUE INDEX relays_endpoint ON relays (lower(ip_address), coalesce(tcp_port, -1), coalesce(unit, -1))
    WHERE ip_address IS NOT NULL AND retired_at IS NULL;
CREATE UNIQUE INDEX relays_mac_address ON relays (mac_address) WHERE retired_at IS NULL;

CREATE TABLE boards (
    number                 integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    uuid                   uuid NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    id                     text NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 63),
    name                   text,
    hardware_serial_number text CHECK (length(hardware_serial_number) BETWEEN 1 AND 100),
    project                text CHECK (length(project) <= 50),
    platform               text,
    device_type            text NOT NULL DEFAULT 'EVM'
        CHECK (device_type IN ('EVM', 'SOCKET_BOARD', 'BREAKOUT_BOARD', 'CUSTOM')),
    pg_version             text CHECK (length(pg_version) <= 100),
    execution_engine       text CHECK (length(execution_engine) <= 100),
    sdk_version            text CHECK (length(sdk_version) <= 100),
    test_farm              text CHECK (test_farm IN ('HLOS', 'RTOS', 'BAREMETAL', 'STAGING', 'INTEGRATION')),
    board_ip               text CHECK (board_ip <> ''),
    serial_port            text CHECK (serial_port <> ''),
    test_pc                uuid REFERENCES test_pcs (uuid) ON DELETE SET NULL,
    console                text NOT NULL DEFAULT 'when-idle' CHECK (console IN ('off', 'when-idle', 'tap')),
    normally               text NOT NULL DEFAULT 'any' CHECK (normally IN ('on', 'off', 'any')),
    location               text CHECK (length(location) <= 200),
    description            text,
    notes                  text,
    -- The axes of the status: use (with its lock), health, administration. Reachability is the verdict's.
    use_status             text NOT NULL DEFAULT 'IDLE' CHECK (use_status IN ('IDLE', 'BUSY', 'UPDATING_SDK')),
    lock_id                text,
    lock_owner             text,
    lock_purpose           text,
    lock_deadline          timestamptz,
    is_locked              boolean GENERATED ALWAYS AS (lock_id IS NOT NULL) STORED,
    error_since            timestamptz,
    error_reason           text,
    deactivated_at         timestamptz,
    deactivated_by         text,
    deactivated_reason     text,
    last_sdk_update_at     timestamptz,
    last_used_at           timestamptz,
    declared               boolean NOT NULL DEFAULT true,
    retired_at             timestamptz,
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL,
    CHECK (use_status = 'IDLE' OR lock_id IS NOT NULL),
    CHECK (lock_id IS NULL OR (lock_owner IS NOT NULL AND lock_deadline IS NOT NULL)),
    CHECK (error_since IS NULL OR error_reason IS NOT NULL),
    CHECK (deactivated_at IS NULL OR (deactivated_by IS NOT NULL AND deactivated_reason IS NOT NULL))
);
CREATE UNIQUE INDEX boards_serial ON boards (hardware_serial_number) WHERE retired_at IS NULL;
CREATE INDEX boards_test_farm ON boards (test_farm);
CREATE INDEX boards_project ON boards (project);
CREATE INDEX boards_platform ON boards (platform);
CREATE INDEX boards_test_pc ON boards (test_pc);
CREATE INDEX boards_is_locked ON boards (is_locked);
CREATE INDEX boards_use_status ON boards (use_status);
CREATE INDEX boards_created_at ON boards (created_at DESC);

CREATE TABLE board_capabilities (
    board      uuid NOT NULL REFERENCES boards (uuid) ON DELETE CASCADE,
    capability uuid NOT NULL REFERENCES capabilities (uuid) ON DELETE RESTRICT,
    PRIMARY KEY (board, capability)
);
CREATE INDEX board_capabilities_capability ON board_capabilities (capability);

-- The relay ports that power a board, in the order of switching on. The first is the primary one.
CREATE TABLE board_feeds (
    uuid         uuid NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    board        uuid NOT NULL REFERENCES boards (uuid) ON DELETE CASCADE,
    position     integer NOT NULL CHECK (position >= 1),
    relay        uuid NOT NULL REFERENCES relays (uuid) ON DELETE CASCADE,
    relay_number integer NOT NULL CHECK (relay_number BETWEEN 1 AND 100),
    polarity     text NOT NULL DEFAULT 'NO' CHECK (polarity IN ('NO', 'NC')),
    after_s      double precision NOT NULL DEFAULT 0 CHECK (after_s >= 0),
    off_time_s   double precision CHECK (off_time_s >= 0),
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (board, position),
    UNIQUE (relay, relay_number)
);

CREATE TABLE settings (
    name  text NOT NULL PRIMARY KEY,
    value text NOT NULL
);
