-- +goose Up

-- What a notice was told as stays with it.
ALTER TABLE inbox ADD COLUMN alias TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN decided TEXT;
ALTER TABLE deliveries ADD COLUMN grp TEXT NOT NULL DEFAULT '';

-- The line of each peer, oldest first; what is in it at all; and what was sent.
CREATE INDEX outbox_line ON outbox (peer, id) WHERE state = 'waiting';
CREATE INDEX outbox_waiting ON outbox (id) WHERE state = 'waiting';
CREATE INDEX outbox_peer ON outbox (peer, id);
CREATE INDEX outbox_failed ON outbox (state, id) WHERE state IN ('refused', 'expired');
