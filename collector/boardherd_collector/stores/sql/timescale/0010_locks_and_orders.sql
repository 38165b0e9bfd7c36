-- Locks, what people decide about things, and commands that nobody answered.

ALTER TABLE events DROP CONSTRAINT events_event_check;
ALTER TABLE events ADD CONSTRAINT events_event_check
    CHECK (event IN ('transition', 'command', 'lock', 'loss', 'boot', 'fault', 'lifecycle'));

ALTER TABLE commands DROP CONSTRAINT commands_state_check;
ALTER TABLE commands ADD CONSTRAINT commands_state_check CHECK (state IN
    ('accepted', 'running', 'succeeded', 'failed', 'interrupted', 'unanswered', 'refused', 'expired'));
-- The command had no id, so the one here is the collector's, and its agent answers with another.
ALTER TABLE commands ADD COLUMN unnamed boolean NOT NULL DEFAULT false;
CREATE INDEX commands_unanswered ON commands (id) WHERE state = 'unanswered';

-- Commands that were seen and that no agent has answered yet: they outlive a restart of the collector.
CREATE TABLE open_commands (
    id          text NOT NULL PRIMARY KEY,
    received_at timestamptz NOT NULL,
    sent        jsonb NOT NULL   -- what was seen of it
);

-- Who says something: a test PC by its number, or 0, the collector.
CREATE VIEW speakers AS
SELECT number, id FROM test_pcs UNION ALL SELECT 0 AS number, 'collector' AS id;

-- The lock that holds, as it was told last, and when that was.
ALTER TABLE boards ADD COLUMN lock_since timestamptz;
ALTER TABLE boards ADD COLUMN lock_fenced boolean NOT NULL DEFAULT false;
ALTER TABLE boards ADD COLUMN lock_reason text;
ALTER TABLE boards ADD COLUMN lock_on_behalf_of text;
ALTER TABLE boards ADD COLUMN lock_told_at timestamptz;
ALTER TABLE boards ADD COLUMN notes_at timestamptz;
-- What people decide beside the inventory. The name that they give goes before that of lab.toml.
ALTER TABLE boards ADD COLUMN given_name text CHECK (given_name <> '');
ALTER TABLE boards ADD COLUMN retired_by text;
ALTER TABLE boards ADD COLUMN retired_reason text;
ALTER TABLE test_pcs ADD COLUMN given_name text CHECK (given_name <> '');
ALTER TABLE test_pcs ADD COLUMN notes text;
ALTER TABLE test_pcs ADD COLUMN retired_by text;
ALTER TABLE test_pcs ADD COLUMN retired_reason text;
ALTER TABLE relays ADD COLUMN given_name text CHECK (given_name <> '');
ALTER TABLE relays ADD COLUMN notes text;
ALTER TABLE relays ADD COLUMN retired_by text;
ALTER TABLE relays ADD COLUMN retired_reason text;

-- A use is known by its lock. It ends with its deadline, whether anybody says so or not. Until its end was reported,
-- `ended_at` is the latest that it can have been.
ALTER TABLE board_usage ADD COLUMN lock_id text;
ALTER TABLE board_usage ADD COLUMN deadline timestamptz;
ALTER TABLE board_usage ADD COLUMN seen_at timestamptz;
ALTER TABLE board_usage ADD COLUMN end_reported boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX board_usage_lock ON board_usage (board, lock_id);
CREATE INDEX board_usage_deadline ON board_usage (deadline) WHERE ended_at IS NULL;

-- Commands to the collector itself: each id is carried out once.
CREATE TABLE collector_commands (
    id          text NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    fingerprint text NOT NULL,
    at          timestamptz NOT NULL,
    step        jsonb NOT NULL   -- its last one
);
CREATE INDEX collector_commands_at ON collector_commands (at);

-- The lines of boards are written at the next start.
DELETE FROM settings WHERE name = 'inventory';
