-- Locks, what people decide about things, and commands that nobody answered.

-- Two checks take another word each: a table has to be made anew for that.
CREATE TABLE events_new (
    number       INTEGER PRIMARY KEY,
    test_pc      INTEGER NOT NULL,
    timestamp    INTEGER NOT NULL,
    received_at  INTEGER NOT NULL,
    time_quality TEXT NOT NULL CHECK (time_quality IN ('agent', 'corrected', 'unverified')),
    event        TEXT NOT NULL
        CHECK (event IN ('transition', 'command', 'lock', 'loss', 'boot', 'fault', 'lifecycle')),
    subject      TEXT NOT NULL,
    text         TEXT NOT NULL,
    command      TEXT,
    detail       TEXT   -- the step, lock, loss or boot that came with it, as JSON
) STRICT;
INSERT INTO events_new (number, test_pc, timestamp, received_at, time_quality, event, subject, text, command, detail)
    SELECT number, test_pc, timestamp, received_at, time_quality, event, subject, text, command, detail FROM events;
DROP TABLE events;
ALTER TABLE events_new RENAME TO events;
CREATE INDEX events_timestamp ON events (timestamp DESC);
CREATE INDEX events_subject ON events (subject, timestamp DESC);
CREATE INDEX events_test_pc ON events (test_pc, timestamp DESC);
CREATE INDEX events_command ON events (command) WHERE command IS NOT NULL;

-- `unnamed`: the command had no id, so the one here is the collector's, and its agent answers with another.
CREATE TABLE commands_new (
    test_pc      INTEGER NOT NULL,
    id           TEXT NOT NULL CHECK (length(id) BETWEEN 1 AND 64),
    action       TEXT NOT NULL,
    target       TEXT NOT NULL,
    operator     TEXT NOT NULL,
    on_behalf_of TEXT,
    reason       TEXT,
    state        TEXT NOT NULL CHECK (state IN
        ('accepted', 'running', 'succeeded', 'failed', 'interrupted', 'unanswered', 'refused', 'expired')),
    is_final     INTEGER GENERATED ALWAYS AS (state NOT IN ('accepted', 'running')) VIRTUAL,
    code         TEXT,
    text         TEXT NOT NULL,
    before       TEXT,
    asked        TEXT,
    observed     TEXT,
    began_at     INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    times        TEXT NOT NULL DEFAULT '{}',
    unnamed      INTEGER NOT NULL DEFAULT 0 CHECK (unnamed IN (0, 1)),
    PRIMARY KEY (test_pc, id)
) STRICT, WITHOUT ROWID;
INSERT INTO commands_new (test_pc, id, action, target, operator, on_behalf_of, reason, state, code, text, before, asked,
                          observed, began_at, changed_at, times)
    SELECT test_pc, id, action, target, operator, on_behalf_of, reason, state, code, text, before, asked,
           observed, began_at, changed_at, times FROM commands;
DROP TABLE commands;
ALTER TABLE commands_new RENAME TO commands;
CREATE INDEX commands_began_at ON commands (began_at DESC);
CREATE INDEX commands_target ON commands (target, began_at DESC);
CREATE INDEX commands_open ON commands (began_at) WHERE state IN ('accepted', 'running');
CREATE INDEX commands_action ON commands (action, began_at DESC);
CREATE INDEX commands_unanswered ON commands (id) WHERE state = 'unanswered';

-- Commands that were seen and that no agent has answered yet: they outlive a restart of the collector.
CREATE TABLE open_commands (
    id          TEXT NOT NULL PRIMARY KEY,
    received_at INTEGER NOT NULL,
    sent        TEXT NOT NULL   -- what was seen of it, as JSON
) STRICT, WITHOUT ROWID;

-- Who says something: a test PC by its number, or 0, the collector.
CREATE VIEW speakers AS
SELECT number, id FROM test_pcs UNION ALL SELECT 0 AS number, 'collector' AS id;

-- The lock that holds, as it was told last, and when that was.
ALTER TABLE boards ADD COLUMN lock_since INTEGER;
ALTER TABLE boards ADD COLUMN lock_fenced INTEGER NOT NULL DEFAULT 0 CHECK (lock_fenced IN (0, 1));
ALTER TABLE boards ADD COLUMN lock_reason TEXT;
ALTER TABLE boards ADD COLUMN lock_on_behalf_of TEXT;
ALTER TABLE boards ADD COLUMN lock_told_at INTEGER;
ALTER TABLE boards ADD COLUMN notes_at INTEGER;
-- What people decide beside the inventory. The name that they give goes before that of lab.toml.
ALTER TABLE boards ADD COLUMN given_name TEXT CHECK (given_name <> '');
ALTER TABLE boards ADD COLUMN retired_by TEXT;
ALTER TABLE boards ADD COLUMN retired_reason TEXT;
ALTER TABLE test_pcs ADD COLUMN given_name TEXT CHECK (given_name <> '');
ALTER TABLE test_pcs ADD COLUMN notes TEXT;
ALTER TABLE test_pcs ADD COLUMN retired_by TEXT;
ALTER TABLE test_pcs ADD COLUMN retired_reason TEXT;
ALTER TABLE relays ADD COLUMN given_name TEXT CHECK (given_name <> '');
ALTER TABLE relays ADD COLUMN notes TEXT;
ALTER TABLE relays ADD COLUMN retired_by TEXT;
ALTER TABLE relays ADD COLUMN retired_reason TEXT;

-- A use is known by its lock. It ends with its deadline, whether anybody says so or not. Until its end was reported,
-- `ended_at` is the latest that it can have been.
ALTER TABLE board_usage ADD COLUMN lock_id TEXT;
ALTER TABLE board_usage ADD COLUMN deadline INTEGER;
ALTER TABLE board_usage ADD COLUMN seen_at INTEGER;
ALTER TABLE board_usage ADD COLUMN end_reported INTEGER NOT NULL DEFAULT 0 CHECK (end_reported IN (0, 1));
CREATE UNIQUE INDEX board_usage_lock ON board_usage (board, lock_id);
CREATE INDEX board_usage_deadline ON board_usage (deadline) WHERE ended_at IS NULL;

-- Commands to the collector itself: each id is carried out once.
CREATE TABLE collector_commands (
    id          TEXT NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    fingerprint TEXT NOT NULL,
    at          INTEGER NOT NULL,
    step        TEXT NOT NULL   -- its last one, as JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX collector_commands_at ON collector_commands (at);

-- The lines of boards are written at the next start.
DELETE FROM settings WHERE name = 'inventory';
