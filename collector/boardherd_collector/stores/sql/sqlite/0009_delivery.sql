-- How delivery stood at each sample: whether anything was put aside, how far it lagged, whether a disk was there.
-- What was sent, sent once more and acknowledged is counted from the agent's start and belongs to the metrics; what
-- was lost is in losses.

ALTER TABLE pc_stats ADD COLUMN spool_parked INTEGER CHECK (spool_parked >= 0);
ALTER TABLE pc_stats ADD COLUMN spool_oldest_s REAL CHECK (spool_oldest_s >= 0);
ALTER TABLE pc_stats ADD COLUMN spool_volatile INTEGER CHECK (spool_volatile IN (0, 1));
