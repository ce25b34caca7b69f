-- +goose Up
-- Schema 2: no query walks a table that grows.

-- What a notice was told as stays with it.
ALTER TABLE inbox ADD COLUMN alias TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN decided TEXT;
ALTER TABLE deliveries ADD COLUMN grp TEXT NOT NULL DEFAULT '';

CREATE TABLE outbox2 (
  seq     INTEGER PRIMARY KEY,
  id      TEXT    NOT NULL UNIQUE,
  peer    BLOB    NOT NULL,
  kind    TEXT    NOT NULL,
  state   TEXT    NOT NULL,
  nonce   TEXT    NOT NULL,
  created INTEGER NOT NULL,
  next    INTEGER NOT NULL,
  ended   INTEGER,          -- what it ages from; NULL: it waits
  body    BLOB,             -- the signed body
  data    TEXT    NOT NULL  -- the rest
) STRICT;
INSERT INTO outbox2 (id, peer, kind, state, nonce, created, next, ended, body, data)
  SELECT id, peer, kind, state, nonce, created, next, iif(state = 'waiting', NULL, iif(done = 0, created, done)), NULL, data FROM outbox ORDER BY id;
DROP TABLE outbox;
ALTER TABLE outbox2 RENAME TO outbox;
-- One peer's queue in order, the peers that envelopes wait for, and lists by state.
CREATE INDEX outbox_queue ON outbox (state, peer, id);
CREATE INDEX outbox_due ON outbox (next) WHERE state = 'waiting';
CREATE INDEX outbox_nonce ON outbox (nonce) WHERE kind = 'message';
CREATE INDEX outbox_ended ON outbox (ended) WHERE ended IS NOT NULL;

CREATE TABLE replies2 (
  seq     INTEGER PRIMARY KEY,
  nonce   TEXT    NOT NULL,
  peer    BLOB    NOT NULL,
  ours    INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  data    TEXT    NOT NULL,
  UNIQUE (nonce, peer, ours)
) STRICT;
INSERT INTO replies2 (nonce, peer, ours, at, expires, data)
  SELECT nonce, unhex(substr(data ->> '$.peer', 25)), data ->> '$.ours',
    CAST(strftime('%s', data ->> '$.at') AS INTEGER) * 1000000000, expires, data FROM replies ORDER BY rowid;
DROP TABLE replies;
ALTER TABLE replies2 RENAME TO replies;
CREATE INDEX replies_expires ON replies (expires) WHERE expires <> 0;
