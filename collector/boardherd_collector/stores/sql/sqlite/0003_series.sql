-- What happened over time, and the current state that follows from it.
--
-- No series has a foreign key: rows outlive what they are about, and go by age. `timestamp` is corrected time,
-- `time_quality` what it rests on.

-- The PC sends bytes; here GB are 10**9 and MB 10**6 bytes.
CREATE TABLE pc_stats (
    test_pc             INTEGER NOT NULL,
    timestamp           INTEGER NOT NULL,
    received_at         INTEGER NOT NULL,
    time_quality        TEXT NOT NULL CHECK (time_quality IN ('agent', 'corrected', 'unverified')),
    status              TEXT NOT NULL CHECK (status IN ('HEALTHY', 'WARNING', 'CRITICAL', 'UNKNOWN')),
    cpu_percent         REAL CHECK (cpu_percent BETWEEN 0 AND 100),
    memory_total_gb     REAL CHECK (memory_total_gb >= 0),
    memory_used_gb      REAL CHECK (memory_used_gb >= 0),
    memory_free_gb      REAL CHECK (memory_free_gb >= 0),
    memory_percent      REAL CHECK (memory_percent BETWEEN 0 AND 100),
    disk_total_gb       REAL CHECK (disk_total_gb >= 0),
    disk_used_gb        REAL CHECK (disk_used_gb >= 0),
    disk_free_gb        REAL CHECK (disk_free_gb >= 0),
    disk_percent        REAL CHECK (disk_percent BETWEEN 0 AND 100),
    network_io_read_mb  REAL DEFAULT 0 CHECK (network_io_read_mb >= 0),
    network_io_write_mb REAL DEFAULT 0 CHECK (network_io_write_mb >= 0),
    process_count       INTEGER CHECK (process_count >= 0),
    thread_count        INTEGER CHECK (thread_count >= 0),
    load_1m             REAL CHECK (load_1m >= 0),
    load_5m             REAL CHECK (load_5m >= 0),
    load_15m            REAL CHECK (load_15m >= 0),
    swap_total_gb       REAL CHECK (swap_total_gb >= 0),
    swap_used_gb        REAL CHECK (swap_used_gb >= 0),
    disk_read_mb        REAL CHECK (disk_read_mb >= 0),
    disk_written_mb     REAL CHECK (disk_written_mb >= 0),
    uptime_s            REAL CHECK (uptime_s >= 0),
    temperature_c       REAL,
    agent_cpu_percent   REAL CHECK (agent_cpu_percent >= 0),
    agent_memory_mb     REAL CHECK (agent_memory_mb >= 0),
    spool_mb            REAL CHECK (spool_mb >= 0),
    spool_pending       INTEGER CHECK (spool_pending >= 0)
) STRICT;
CREATE INDEX pc_stats_test_pc ON pc_stats (test_pc, timestamp DESC);
CREATE INDEX pc_stats_status ON pc_stats (status, timestamp DESC);
CREATE INDEX pc_stats_timestamp ON pc_stats (timestamp DESC);

-- Changes, and a keyframe an hour.
CREATE TABLE board_liveness (
    board        INTEGER NOT NULL,
    test_pc      INTEGER NOT NULL,
    timestamp    INTEGER NOT NULL,
    received_at  INTEGER NOT NULL,
    time_quality TEXT NOT NULL CHECK (time_quality IN ('agent', 'corrected', 'unverified')),
    verdict      TEXT NOT NULL
        CHECK (verdict IN ('alive', 'booting', 'degraded', 'silent', 'powered_off', 'unknown')),
    blame        TEXT NOT NULL CHECK (blame IN ('nobody', 'board', 'relay', 'wiring', 'network', 'agent')),
    reason       TEXT NOT NULL,
    since        INTEGER NOT NULL,
    probes       TEXT NOT NULL DEFAULT '[]',
    change       INTEGER NOT NULL CHECK (change IN (0, 1))
) STRICT;
CREATE INDEX board_liveness_board ON board_liveness (board, timestamp DESC);
CREATE INDEX board_liveness_timestamp ON board_liveness (timestamp DESC);

CREATE TABLE relay_states (
    relay        INTEGER NOT NULL,
    port         INTEGER NOT NULL CHECK (port BETWEEN 1 AND 100),
    test_pc      INTEGER NOT NULL,
    board        TEXT,
    timestamp    INTEGER NOT NULL,
    received_at  INTEGER NOT NULL,
    time_quality TEXT NOT NULL CHECK (time_quality IN ('agent', 'corrected', 'unverified')),
    observed     TEXT NOT NULL CHECK (observed IN ('on', 'off', 'unknown')),
    asked        TEXT NOT NULL CHECK (asked IN ('on', 'off', 'unknown')),
    expected     TEXT NOT NULL CHECK (expected IN ('on', 'off', 'any')),
    drift        INTEGER GENERATED ALWAYS AS (
        observed <> 'unknown'
        AND ((asked <> 'unknown' AND asked <> observed) OR (expected <> 'any' AND expected <> observed))
    ) VIRTUAL,
    since        INTEGER NOT NULL,
    switch_count INTEGER NOT NULL CHECK (switch_count >= 0),
    switched_at  INTEGER,
    switched_by  TEXT,
    module       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    change       INTEGER NOT NULL CHECK (change IN (0, 1))
) STRICT;
CREATE INDEX relay_states_port ON relay_states (relay, port, timestamp DESC);
CREATE INDEX relay_states_timestamp ON relay_states (timestamp DESC);

CREATE TABLE events (
    number       INTEGER PRIMARY KEY,
    test_pc      INTEGER NOT NULL,
    timestamp    INTEGER NOT NULL,
    received_at  INTEGER NOT NULL,
    time_quality TEXT NOT NULL CHECK (time_quality IN ('agent', 'corrected', 'unverified')),
    event        TEXT NOT NULL
        CHECK (event IN ('transition', 'command', 'loss', 'boot', 'fault', 'lifecycle')),
    subject      TEXT NOT NULL,
    text         TEXT NOT NULL,
    command      TEXT,
    detail       TEXT   -- the step, loss or boot that came with it, as JSON
) STRICT;
CREATE INDEX events_timestamp ON events (timestamp DESC);
CREATE INDEX events_subject ON events (subject, timestamp DESC);
CREATE INDEX events_test_pc ON events (test_pc, timestamp DESC);
CREATE INDEX events_command ON events (command) WHERE command IS NOT NULL;

-- One row a command with its whole life; its steps are among the events.
CREATE TABLE commands (
    test_pc      INTEGER NOT NULL,
    id           TEXT NOT NULL CHECK (length(id) BETWEEN 1 AND 64),
    action       TEXT NOT NULL,
    target       TEXT NOT NULL,
    operator     TEXT NOT NULL,
    on_behalf_of TEXT,
    reason       TEXT,
    state        TEXT NOT NULL CHECK (state IN
        ('accepted', 'running', 'succeeded', 'failed', 'interrupted', 'refused', 'expired')),
    is_final     INTEGER GENERATED ALWAYS AS (state NOT IN ('accepted', 'running')) VIRTUAL,
    code         TEXT,
    text         TEXT NOT NULL,
    before       TEXT,
    asked        TEXT,
    observed     TEXT,
    began_at     INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    times        TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (test_pc, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX commands_began_at ON commands (began_at DESC);
CREATE INDEX commands_target ON commands (target, began_at DESC);
CREATE INDEX commands_open ON commands (began_at) WHERE state IN ('accepted', 'running');

CREATE TABLE boots (
    board     INTEGER NOT NULL,
    test_pc   INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    console_s REAL CHECK (console_s >= 0),
    uboot_s   REAL CHECK (uboot_s >= 0),
    kernel_s  REAL CHECK (kernel_s >= 0),
    login_s   REAL CHECK (login_s >= 0),
    ping_s    REAL CHECK (ping_s >= 0),
    tcp_s     REAL CHECK (tcp_s >= 0),
    ssh_s     REAL CHECK (ssh_s >= 0)
) STRICT;
CREATE INDEX boots_board ON boots (board, timestamp DESC);
CREATE INDEX boots_timestamp ON boots (timestamp DESC);

-- The newest of each, by the time when it was true, whatever arrived last. `record` is the whole of it as JSON.
CREATE TABLE pc_current (
    test_pc     INTEGER PRIMARY KEY,
    timestamp   INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    status      TEXT NOT NULL,
    record      TEXT NOT NULL
) STRICT;

CREATE TABLE board_current (
    board       INTEGER PRIMARY KEY,
    test_pc     INTEGER NOT NULL,
    timestamp   INTEGER NOT NULL,   -- last confirmed
    received_at INTEGER NOT NULL,
    verdict     TEXT NOT NULL,
    blame       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    since       INTEGER NOT NULL,
    record      TEXT NOT NULL
) STRICT;
CREATE INDEX board_current_verdict ON board_current (verdict, since);

CREATE TABLE relay_port_current (
    relay       INTEGER NOT NULL,
    port        INTEGER NOT NULL,
    test_pc     INTEGER NOT NULL,
    timestamp   INTEGER NOT NULL,   -- last confirmed
    received_at INTEGER NOT NULL,
    observed    TEXT NOT NULL,
    asked       TEXT NOT NULL,
    expected    TEXT NOT NULL,
    record      TEXT NOT NULL,
    PRIMARY KEY (relay, port)
) STRICT, WITHOUT ROWID;
