-- +goose Up
-- What several nodes need to know of each other. A node finds what others have changed of
-- the peers and of meta by how far head.changed is, and what they have let in by how far
-- head.place is.
ALTER TABLE head ADD COLUMN changed bigint NOT NULL DEFAULT 1, ADD COLUMN place bigint NOT NULL DEFAULT 1;

-- One that is gone was forgotten: it stays for a while, so that every node forgets it.
ALTER TABLE peers ADD COLUMN changed bigint NOT NULL DEFAULT 1, ADD COLUMN gone timestamptz;
CREATE INDEX peers_changed ON peers (changed);

ALTER TABLE meta ADD COLUMN changed bigint NOT NULL DEFAULT 1;
CREATE INDEX meta_changed ON meta (changed);

ALTER TABLE receipts ADD COLUMN place bigint NOT NULL DEFAULT 1;
CREATE INDEX receipts_place ON receipts (peer, intent, place);
DROP INDEX receipts_newest;

-- The gateways that have the database open, or had.
CREATE TABLE nodes (
  id      text        NOT NULL PRIMARY KEY,
  key     bytea       NOT NULL,  -- the gateway's
  started timestamptz NOT NULL,
  seen    timestamptz NOT NULL,
  data    text        NOT NULL   -- what it says of itself
);
