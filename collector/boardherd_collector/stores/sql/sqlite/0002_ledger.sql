-- Which envelopes are in. The ledger is what makes a record stored once; no series needs a unique key for it.

CREATE TABLE streams (
    number         INTEGER PRIMARY KEY,
    stream         TEXT NOT NULL UNIQUE CHECK (length(stream) BETWEEN 16 AND 64),
    test_pc        INTEGER NOT NULL,
    watermark      INTEGER NOT NULL DEFAULT 0 CHECK (watermark >= 0),
    ranges         TEXT NOT NULL DEFAULT '[]',   -- above the watermark: [[first, last], ...]
    envelopes      INTEGER NOT NULL DEFAULT 0 CHECK (envelopes >= 0),
    lost_envelopes INTEGER NOT NULL DEFAULT 0 CHECK (lost_envelopes >= 0),
    host_records   INTEGER NOT NULL DEFAULT 0,
    board_records  INTEGER NOT NULL DEFAULT 0,
    relay_records  INTEGER NOT NULL DEFAULT 0,
    event_records  INTEGER NOT NULL DEFAULT 0,
    dead_letters   INTEGER NOT NULL DEFAULT 0,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL
) STRICT;

-- SHA-256 of the newest envelopes of each stream: the same number with other content is a conflict.
CREATE TABLE stream_digests (
    stream INTEGER NOT NULL REFERENCES streams (number) ON DELETE CASCADE,
    seq    INTEGER NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;

-- Offset of a boot's clock: offset plus time since boot is the time. Learned once, never changed.
CREATE TABLE boot_clocks (
    test_pc     INTEGER NOT NULL,
    boot        TEXT NOT NULL,
    offset_us   INTEGER NOT NULL,
    learned_at  INTEGER NOT NULL,
    PRIMARY KEY (test_pc, boot)
) STRICT, WITHOUT ROWID;

CREATE TABLE losses (
    number    INTEGER PRIMARY KEY,
    timestamp INTEGER NOT NULL,
    test_pc   INTEGER NOT NULL,
    stream    TEXT NOT NULL,
    first     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    envelopes INTEGER NOT NULL,   -- how many of the range were not stored before
    records   INTEGER NOT NULL,   -- how many the agent had put into the range
    reason    TEXT NOT NULL,
    oldest    INTEGER,
    newest    INTEGER,
    CHECK (first <= last)
) STRICT;
CREATE INDEX losses_timestamp ON losses (timestamp DESC);

CREATE TABLE dead_letters (
    number      INTEGER PRIMARY KEY,
    received_at INTEGER NOT NULL,
    test_pc     TEXT NOT NULL,
    stream      TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    payload     TEXT NOT NULL
) STRICT;
CREATE INDEX dead_letters_received_at ON dead_letters (received_at DESC);
