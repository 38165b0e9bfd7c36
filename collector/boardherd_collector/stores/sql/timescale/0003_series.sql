-- What happened over time, and the current state that follows from it.
--
-- No series has a foreign key: rows outlive what they are about, and go by age. None has a unique key on time: the
-- ledger tells what is in. `timestamp` is corrected time, `time_quality` what it rests on.
-- pc_stats, board_liveness, relay_states and events become hypertables where TimescaleDB is there.

-- The PC sends bytes; here GB are 10**9 and MB 10**6 bytes.
CREATE TABLE pc_stats (
    test_pc             integer NOT NULL,
    timestamp           timestamptz NOT NULL,
    received_at         timestamptz NOT NULL,
    time_quality        text NOT NULL CHECK (time_quality IN ('agent', 'corrected', 'unverified')),
    status              text NOT NULL CHECK (status IN ('HEALTHY', 'WARNING', 'CRITICAL', 'UNKNOWN')),
    cpu_percent         double precision CHECK (cpu_percent BETWEEN 0 AND 100),
    memory_total_gb     double precision CHECK (memory_total_gb >= 0),
    memory_used_gb      double precision CHECK (memory_used_gb >= 0),
    memory_free_gb      double precision CHECK (memory_free_gb >= 0),
    memory_percent      double precision CHECK (memory_percent BETWEEN 0 AND 100),
    disk_total_gb       double precision CHECK (disk_total_gb >= 0),
    disk_used_gb        double precision CHECK (disk_used_gb >= 0),
    disk_free_gb        double precision CHECK (disk_free_gb >= 0),
    disk_percent        double precision CHECK (disk_percent BETWEEN 0 AND 100),
    network_io_read_mb  double precision DEFAULT 0 CHECK (network_io_read_mb >= 0),
    network_io_write_mb double precision DEFAULT 0 CHECK (network_io_write_mb >= 0),
    process_count       bigint CHECK (process_count >= 0),
    thread_count        bigint CHECK (thread_count >= 0),
    load_1m             double precision CHECK (load_1m >= 0),
    load_5m             double precision CHECK (load_5m >= 0),
    load_15m            double precision CHECK (load_15m >= 0),
    swap_total_gb       double precision CHECK (swap_total_gb >= 0),
    swap_used_gb        double precision CHECK (swap_used_gb >= 0),
    disk_read_mb        double precision CHECK (disk_read_mb >= 0),
    disk_written_mb     double precision CHECK (disk_written_mb >= 0),
    uptime_s            double precision CHECK (uptime_s >= 0),
    temperature_c       double precision,
    agent_cpu_percent   double precision CHECK (agent_cpu_percent >= 0),
    agent_memory_mb     double precision CHECK (agent_memory_mb >= 0),
    spool_mb            double precision CHECK (spool_mb >= 0),
    spool_pending       bigint CHECK (spool_pending >= 0)
);
CREATE INDEX pc_stats_test_pc ON pc_stats (test_pc, timestamp DESC);
CREATE INDEX pc_stats_status ON pc_stats (status, timestamp DESC);
CREATE INDEX pc_stats_timestamp ON pc_stats (timestamp DESC);

-- Changes, and a keyframe an hour.
CREATE TABLE board_liveness (
    board        integer NOT NULL,
    test_pc      integer NOT NULL,
    timestamp    timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    time_quality text NOT NULL CHECK (time_quality IN ('agent', 'corrected', 'unverified')),
    verdict      text NOT NULL
        CHECK (verdict IN ('alive', 'booting', 'degraded', 'silent', 'powered_off', 'unknown')),
    blame        text NOT NULL CHECK (blame IN ('nobody', 'board', 'relay', 'wiring', 'network', 'agent')),
    reason       text NOT NULL,
    since        timestamptz NOT NULL,
    probes       jsonb NOT NULL DEFAULT '[]',
    change       boolean NOT NULL
);
CREATE INDEX board_liveness_board ON board_liveness (board, timestamp DESC);
CREATE INDEX board_liveness_timestamp ON board_liveness (timestamp DESC);

CREATE TABLE relay_states (
    relay        integer NOT NULL,
    port         integer NOT NULL CHECK (port BETWEEN 1 AND 100),
    test_pc      integer NOT NULL,
    board        text,
    timestamp    timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    time_quality text NOT NULL CHECK (time_quality IN ('agent', 'corrected', 'unverified')),
    observed     text NOT NULL CHECK (observed IN ('on', 'off', 'unknown')),
    asked        text NOT NULL CHECK (asked IN ('on', 'off', 'unknown')),
    expected     text NOT NULL CHECK (expected IN ('on', 'off', 'any')),
    drift        boolean GENERATED ALWAYS AS (
        observed <> 'unknown'
        AND ((asked <> 'unknown' AND asked <> observed) OR (expected <> 'any' AND expected <> observed))
    ) STORED,
    since        timestamptz NOT NULL,
    switch_count bigint NOT NULL CHECK (switch_count >= 0),
    switched_at  timestamptz,
    switched_by  text,
    module       text NOT NULL,
    reason       text NOT NULL,
    change       boolean NOT NULL
);
CREATE INDEX relay_states_port ON relay_states (relay, port, timestamp DESC);
CREATE INDEX relay_states_timestamp ON relay_states (timestamp DESC);

CREATE TABLE events (
    number       bigint GENERATED ALWAYS AS IDENTITY,
    test_pc      integer NOT NULL,
    timestamp    timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    time_quality text NOT NULL CHECK (time_quality IN ('agent', 'corrected', 'unverified')),
    event        text NOT NULL
        CHECK (event IN ('transition', 'command', 'loss', 'boot', 'fault', 'lifecycle')),
    subject      text COLLATE "C" NOT NULL,
    text         text NOT NULL,
    command      text,
    detail       jsonb   -- the step, loss or boot that came with it
);
CREATE INDEX events_timestamp ON events (timestamp DESC);
CREATE INDEX events_subject ON events (subject, timestamp DESC);
CREATE INDEX events_test_pc ON events (test_pc, timestamp DESC);
CREATE INDEX events_command ON events (command) WHERE command IS NOT NULL;

-- One row a command with its whole life; its steps are among the events.
CREATE TABLE commands (
    test_pc      integer NOT NULL,
    id           text NOT NULL CHECK (length(id) BETWEEN 1 AND 64),
    action       text NOT NULL,
    target       text NOT NULL,
    operator     text NOT NULL,
    on_behalf_of text,
    reason       text,
    state        text NOT NULL CHECK (state IN
        ('accepted', 'running', 'succeeded', 'failed', 'interrupted', 'refused', 'expired')),
    is_final     boolean GENERATED ALWAYS AS (state NOT IN ('accepted', 'running')) STORED,
    code         text,
    text         text NOT NULL,
    before       text,
    asked        text,
    observed     text,
    began_at     timestamptz NOT NULL,
    changed_at   timestamptz NOT NULL,
    times        jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (test_pc, id)
);
CREATE INDEX commands_began_at ON commands (began_at DESC);
CREATE INDEX commands_target ON commands (target, began_at DESC);
CREATE INDEX commands_open ON commands (began_at) WHERE state IN ('accepted', 'running');

CREATE TABLE boots (
    board     integer NOT NULL,
    test_pc   integer NOT NULL,
    timestamp timestamptz NOT NULL,
    console_s double precision CHECK (console_s >= 0),
    uboot_s   double precision CHECK (uboot_s >= 0),
    kernel_s  double precision CHECK (kernel_s >= 0),
    login_s   double precision CHECK (login_s >= 0),
    ping_s    double precision CHECK (ping_s >= 0),
    tcp_s     double precision CHECK (tcp_s >= 0),
    ssh_s     double precision CHECK (ssh_s >= 0)
);
CREATE INDEX boots_board ON boots (board, timestamp DESC);
CREATE INDEX boots_timestamp ON boots (timestamp DESC);

-- The newest of each, by the time when it was true, whatever arrived last. `record` is the whole of it.
CREATE TABLE pc_current (
    test_pc     integer PRIMARY KEY,
    timestamp   timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    status      text NOT NULL,
    record      jsonb NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE board_current (
    board       integer PRIMARY KEY,
    test_pc     integer NOT NULL,
    timestamp   timestamptz NOT NULL,   -- last confirmed
    received_at timestamptz NOT NULL,
    verdict     text NOT NULL,
    blame       text NOT NULL,
    reason      text NOT NULL,
    since       timestamptz NOT NULL,
    record      jsonb NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX board_current_verdict ON board_current (verdict, since);

CREATE TABLE relay_port_current (
    relay       integer NOT NULL,
    port        integer NOT NULL,
    test_pc     integer NOT NULL,
    timestamp   timestamptz NOT NULL,   -- last confirmed
    received_at timestamptz NOT NULL,
    observed    text NOT NULL,
    asked       text NOT NULL,
    expected    text NOT NULL,
    record      jsonb NOT NULL,
    PRIMARY KEY (relay, port)
) WITH (fillfactor = 50);
