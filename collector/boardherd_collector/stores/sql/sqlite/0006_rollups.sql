-- Rollups, which outlive the rows they are made of.
--
-- Records note the hours they fall into in rollup_queue, within their own transaction; the collector works those
-- hours out anew, so that late records count. `bucket` and `hour` are where a rollup begins.

-- Samples of a PC over five minutes.
CREATE TABLE pc_stats_5m (
    test_pc INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    samples INTEGER NOT NULL CHECK (samples > 0),
    healthy INTEGER NOT NULL,
    warning INTEGER NOT NULL,
    critical INTEGER NOT NULL,
    cpu_percent_avg REAL, cpu_percent_min REAL, cpu_percent_max REAL,
    memory_percent_avg REAL, memory_percent_min REAL, memory_percent_max REAL,
    memory_used_gb_avg REAL, memory_used_gb_min REAL, memory_used_gb_max REAL,
    swap_used_gb_avg REAL, swap_used_gb_min REAL, swap_used_gb_max REAL,
    disk_percent_avg REAL, disk_percent_min REAL, disk_percent_max REAL,
    disk_used_gb_avg REAL, disk_used_gb_min REAL, disk_used_gb_max REAL,
    disk_free_gb_avg REAL, disk_free_gb_min REAL, disk_free_gb_max REAL,
    load_1m_avg REAL, load_1m_min REAL, load_1m_max REAL,
    process_count_avg REAL, process_count_min REAL, process_count_max REAL,
    thread_count_avg REAL, thread_count_min REAL, thread_count_max REAL,
    temperature_c_avg REAL, temperature_c_min REAL, temperature_c_max REAL,
    memory_total_gb_max REAL,
    disk_total_gb_max REAL,
    network_io_read_mb_max REAL,
    network_io_write_mb_max REAL,
    disk_read_mb_max REAL,
    disk_written_mb_max REAL,
    PRIMARY KEY (test_pc, bucket)
) STRICT, WITHOUT ROWID;
CREATE INDEX pc_stats_5m_bucket ON pc_stats_5m (bucket);

-- Samples of a PC over one hour; kept for ever.
CREATE TABLE pc_stats_1h (
    test_pc INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    samples INTEGER NOT NULL CHECK (samples > 0),
    healthy INTEGER NOT NULL,
    warning INTEGER NOT NULL,
    critical INTEGER NOT NULL,
    cpu_percent_avg REAL, cpu_percent_min REAL, cpu_percent_max REAL,
    memory_percent_avg REAL, memory_percent_min REAL, memory_percent_max REAL,
    memory_used_gb_avg REAL, memory_used_gb_min REAL, memory_used_gb_max REAL,
    swap_used_gb_avg REAL, swap_used_gb_min REAL, swap_used_gb_max REAL,
    disk_percent_avg REAL, disk_percent_min REAL, disk_percent_max REAL,
    disk_used_gb_avg REAL, disk_used_gb_min REAL, disk_used_gb_max REAL,
    disk_free_gb_avg REAL, disk_free_gb_min REAL, disk_free_gb_max REAL,
    load_1m_avg REAL, load_1m_min REAL, load_1m_max REAL,
    process_count_avg REAL, process_count_min REAL, process_count_max REAL,
    thread_count_avg REAL, thread_count_min REAL, thread_count_max REAL,
    temperature_c_avg REAL, temperature_c_min REAL, temperature_c_max REAL,
    memory_total_gb_max REAL,
    disk_total_gb_max REAL,
    network_io_read_mb_max REAL,
    network_io_write_mb_max REAL,
    disk_read_mb_max REAL,
    disk_written_mb_max REAL,
    PRIMARY KEY (test_pc, bucket)
) STRICT, WITHOUT ROWID;
CREATE INDEX pc_stats_1h_bucket ON pc_stats_1h (bucket);

-- For how long each verdict held in each hour, as far as somebody confirmed it: what is missing to 3600 s nobody knows.
CREATE TABLE board_verdict_hours (
    board   INTEGER NOT NULL,
    hour    INTEGER NOT NULL,
    verdict TEXT NOT NULL
        CHECK (verdict IN ('alive', 'booting', 'degraded', 'silent', 'powered_off', 'unknown')),
    seconds REAL NOT NULL CHECK (seconds > 0 AND seconds <= 3600),
    PRIMARY KEY (board, hour, verdict)
) STRICT, WITHOUT ROWID;
CREATE INDEX board_verdict_hours_hour ON board_verdict_hours (hour);

-- In which minutes of an hour the verdict on a board was confirmed: bit 0 is the first minute, bit 59 the last.
CREATE TABLE board_minutes (
    board     INTEGER NOT NULL,
    hour      INTEGER NOT NULL,
    confirmed INTEGER NOT NULL CHECK (confirmed > 0),
    PRIMARY KEY (board, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX board_minutes_hour ON board_minutes (hour);

-- Hours whose rollups are due.
CREATE TABLE rollup_queue (
    series TEXT NOT NULL CHECK (series IN ('pc_stats', 'board_liveness')),
    thing  INTEGER NOT NULL,   -- number of the PC or of the board
    hour   INTEGER NOT NULL,
    PRIMARY KEY (hour, series, thing)
) STRICT, WITHOUT ROWID;
INSERT INTO rollup_queue (series, thing, hour)
    SELECT DISTINCT 'pc_stats', test_pc, timestamp - timestamp % 3600000000 FROM pc_stats;
