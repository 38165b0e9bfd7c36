-- Rollups, which outlive the rows they are made of.
--
-- Records note the hours they fall into in rollup_queue, within their own transaction; the collector works those
-- hours out anew, so that late records count. `bucket` and `hour` are where a rollup begins.
-- With TimescaleDB, continuous aggregates make the rollups of samples; then the tables below keep what was rolled
-- up before, and the views pc_stats_5m and pc_stats_1h show both.

-- Samples of a PC over five minutes.
CREATE TABLE pc_stats_5m_own (
    test_pc integer NOT NULL,
    bucket  timestamptz NOT NULL,
    samples bigint NOT NULL CHECK (samples > 0),
    healthy bigint NOT NULL,
    warning bigint NOT NULL,
    critical bigint NOT NULL,
    cpu_percent_avg double precision, cpu_percent_min double precision, cpu_percent_max double precision,
    memory_percent_avg double precision, memory_percent_min double precision, memory_percent_max double precision,
    memory_used_gb_avg double precision, memory_used_gb_min double precision, memory_used_gb_max double precision,
    swap_used_gb_avg double precision, swap_used_gb_min double precision, swap_used_gb_max double precision,
    disk_percent_avg double precision, disk_percent_min double precision, disk_percent_max double precision,
    disk_used_gb_avg double precision, disk_used_gb_min double precision, disk_used_gb_max double precision,
    disk_free_gb_avg double precision, disk_free_gb_min double precision, disk_free_gb_max double precision,
    load_1m_avg double precision, load_1m_min double precision, load_1m_max double precision,
    process_count_avg double precision, process_count_min double precision, process_count_max double precision,
    thread_count_avg double precision, thread_count_min double precision, thread_count_max double precision,
    temperature_c_avg double precision, temperature_c_min double precision, temperature_c_max double precision,
    memory_total_gb_max double precision,
    disk_total_gb_max double precision,
    network_io_read_mb_max double precision,
    network_io_write_mb_max double precision,
    disk_read_mb_max double precision,
    disk_written_mb_max double precision,
    PRIMARY KEY (test_pc, bucket)
);
CREATE INDEX pc_stats_5m_own_bucket ON pc_stats_5m_own (bucket);
CREATE VIEW pc_stats_5m AS SELECT * FROM pc_stats_5m_own;

-- Samples of a PC over one hour; kept for ever.
CREATE TABLE pc_stats_1h_own (
    test_pc integer NOT NULL,
    bucket  timestamptz NOT NULL,
    samples bigint NOT NULL CHECK (samples > 0),
    healthy bigint NOT NULL,
    warning bigint NOT NULL,
    critical bigint NOT NULL,
    cpu_percent_avg double precision, cpu_percent_min double precision, cpu_percent_max double precision,
    memory_percent_avg double precision, memory_percent_min double precision, memory_percent_max double precision,
    memory_used_gb_avg double precision, memory_used_gb_min double precision, memory_used_gb_max double precision,
    swap_used_gb_avg double precision, swap_used_gb_min double precision, swap_used_gb_max double precision,
    disk_percent_avg double precision, disk_percent_min double precision, disk_percent_max double precision,
    disk_used_gb_avg double precision, disk_used_gb_min double precision, disk_used_gb_max double precision,
    disk_free_gb_avg double precision, disk_free_gb_min double precision, disk_free_gb_max double precision,
    load_1m_avg double precision, load_1m_min double precision, load_1m_max double precision,
    process_count_avg double precision, process_count_min double precision, process_count_max double precision,
    thread_count_avg double precision, thread_count_min double precision, thread_count_max double precision,
    temperature_c_avg double precision, temperature_c_min double precision, temperature_c_max double precision,
    memory_total_gb_max double precision,
    disk_total_gb_max double precision,
    network_io_read_mb_max double precision,
    network_io_write_mb_max double precision,
    disk_read_mb_max double precision,
    disk_written_mb_max double precision,
    PRIMARY KEY (test_pc, bucket)
);
CREATE INDEX pc_stats_1h_own_bucket ON pc_stats_1h_own (bucket);
CREATE VIEW pc_stats_1h AS SELECT * FROM pc_stats_1h_own;

-- For how long each verdict held in each hour, as far as somebody confirmed it: what is missing to 3600 s nobody knows.
CREATE TABLE board_verdict_hours (
    board   integer NOT NULL,
    hour    timestamptz NOT NULL,
    verdict text NOT NULL
        CHECK (verdict IN ('alive', 'booting', 'degraded', 'silent', 'powered_off', 'unknown')),
    seconds double precision NOT NULL CHECK (seconds > 0 AND seconds <= 3600),
    PRIMARY KEY (board, hour, verdict)
);
CREATE INDEX board_verdict_hours_hour ON board_verdict_hours (hour);

-- In which minutes of an hour the verdict on a board was confirmed: bit 0 is the first minute, bit 59 the last.
CREATE TABLE board_minutes (
    board     integer NOT NULL,
    hour      timestamptz NOT NULL,
    confirmed bigint NOT NULL CHECK (confirmed > 0),
    PRIMARY KEY (board, hour)
) WITH (fillfactor = 70);
CREATE INDEX board_minutes_hour ON board_minutes (hour);

-- Hours whose rollups are due.
CREATE TABLE rollup_queue (
    series text NOT NULL CHECK (series IN ('pc_stats', 'board_liveness')),
    thing  integer NOT NULL,   -- number of the PC or of the board
    hour   timestamptz NOT NULL,
    PRIMARY KEY (hour, series, thing)
);
INSERT INTO rollup_queue (series, thing, hour)
    SELECT DISTINCT 'pc_stats', test_pc, date_bin('1 hour', timestamp, '1970-01-01 00:00:00+00') FROM pc_stats;
