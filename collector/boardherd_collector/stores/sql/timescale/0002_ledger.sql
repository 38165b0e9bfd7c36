-- Which envelopes are in. The ledger is what makes a record stored once; no series needs a unique key for it.

CREATE TABLE streams (
    number         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream         text NOT NULL UNIQUE CHECK (length(stream) BETWEEN 16 AND 64),
    test_pc        integer NOT NULL,
    watermark      bigint NOT NULL DEFAULT 0 CHECK (watermark >= 0),
    ranges         jsonb NOT NULL DEFAULT '[]',   -- above the watermark: [[first, last], ...]
    envelopes      bigint NOT NULL DEFAULT 0 CHECK (envelopes >= 0),
    lost_envelopes numeric(20) NOT NULL DEFAULT 0 CHECK (lost_envelopes >= 0),
    host_records   bigint NOT NULL DEFAULT 0,
    board_records  bigint NOT NULL DEFAULT 0,
    relay_records  bigint NOT NULL DEFAULT 0,
    event_records  bigint NOT NULL DEFAULT 0,
    dead_letters   bigint NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
) WITH (fillfactor = 50);

-- SHA-256 of the newest envelopes of each stream: the same number with other content is a conflict.
CREATE TABLE stream_digests (
    stream integer NOT NULL REFERENCES streams (number) ON DELETE CASCADE,
    seq    bigint NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (stream, seq)
);

-- Offset of a boot's clock: offset plus time since boot is the time. Learned once, never changed.
CREATE TABLE boot_clocks (
    test_pc     integer NOT NULL,
    boot        text NOT NULL,
    offset_us   bigint NOT NULL,
    learned_at  timestamptz NOT NULL,
    PRIMARY KEY (test_pc, boot)
);

CREATE TABLE losses (
    number    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    timestamp timestamptz NOT NULL,
    test_pc   integer NOT NULL,
    stream    text NOT NULL,
    first     bigint NOT NULL,
    last      bigint NOT NULL,
    envelopes bigint NOT NULL,   -- how many of the range were not stored before
    records   bigint NOT NULL,   -- how many the agent had put into the range
    reason    text NOT NULL,
    oldest    timestamptz,
    newest    timestamptz,
    CHECK (first <= last)
);
CREATE INDEX losses_timestamp ON losses (timestamp DESC);

CREATE TABLE dead_letters (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    test_pc     text NOT NULL,
    stream      text NOT NULL,
    seq         bigint NOT NULL,
    position    integer NOT NULL,
    reason      text NOT NULL,
    payload     text NOT NULL
);
CREATE INDEX dead_letters_received_at ON dead_letters (received_at DESC);
