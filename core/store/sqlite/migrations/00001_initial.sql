-- +goose Up
-- Times are Unix nanoseconds, UTC; 0 is no time. Keys are raw (32 bytes). Rows in
-- "data" are JSON of the core type of that name.

CREATE TABLE peers (
  key  BLOB NOT NULL PRIMARY KEY,
  data TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- L6: what a peer sent once, and our answer to it.
CREATE TABLE letters (
  peer   BLOB    NOT NULL,
  nonce  TEXT    NOT NULL,
  at     INTEGER NOT NULL,
  intent TEXT    NOT NULL,
  status INTEGER NOT NULL,
  digest BLOB    NOT NULL,
  answer BLOB    NOT NULL,
  PRIMARY KEY (peer, nonce)
) STRICT, WITHOUT ROWID;
-- With the primary key that every index entry holds, it answers EachLetter alone.
CREATE INDEX letters_at ON letters (at, intent);

-- A message is here once, in columns: its event is made from its row. What is
-- filtered by comes first and the payload last, so that a search reads no payloads.
CREATE TABLE inbox (
  id           TEXT    NOT NULL PRIMARY KEY,
  at           INTEGER NOT NULL,
  peer         BLOB    NOT NULL,
  status       TEXT    NOT NULL,
  intent       TEXT    NOT NULL,
  level        TEXT    NOT NULL,
  reason       TEXT    NOT NULL,
  sender       TEXT    NOT NULL,
  recipient    TEXT    NOT NULL,
  agent        TEXT    NOT NULL,
  nonce        TEXT    NOT NULL,
  sent         TEXT    NOT NULL,
  reply_to     TEXT    NOT NULL,
  conversation TEXT    NOT NULL,
  project      TEXT    NOT NULL,
  reply        TEXT,
  payload      BLOB
) STRICT;
CREATE INDEX inbox_held ON inbox (id) WHERE status = 'held';

-- Events other than messages.
CREATE TABLE events (
  id   TEXT    NOT NULL PRIMARY KEY,
  at   INTEGER NOT NULL,
  data TEXT    NOT NULL
) STRICT;

-- The event is in events or in inbox.
CREATE TABLE deliveries (
  event    TEXT    NOT NULL,
  notifier TEXT    NOT NULL,
  attempts INTEGER NOT NULL,
  next     INTEGER NOT NULL,
  dead     INTEGER NOT NULL,
  created  INTEGER NOT NULL,
  error    TEXT    NOT NULL,
  PRIMARY KEY (event, notifier)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (notifier, next) WHERE dead = 0;
CREATE INDEX deliveries_dead ON deliveries (event) WHERE dead = 1;

CREATE TABLE outbox (
  id      TEXT    NOT NULL PRIMARY KEY,
  peer    BLOB    NOT NULL,
  kind    TEXT    NOT NULL,
  state   TEXT    NOT NULL,
  nonce   TEXT    NOT NULL,
  created INTEGER NOT NULL,
  next    INTEGER NOT NULL,
  done    INTEGER NOT NULL,
  data    TEXT    NOT NULL
) STRICT;
CREATE INDEX outbox_nonce ON outbox (nonce) WHERE kind = 'message';
CREATE INDEX outbox_due ON outbox (next) WHERE state = 'waiting';

CREATE TABLE replies (
  nonce   TEXT    NOT NULL PRIMARY KEY,
  expires INTEGER NOT NULL,
  data    TEXT    NOT NULL
) STRICT;

CREATE TABLE meta (
  key   TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys are blobs so that a prefix is a range, whatever bytes a plugin chose.
CREATE TABLE kv (
  plugin TEXT NOT NULL,
  key    BLOB NOT NULL,
  value  BLOB NOT NULL,
  PRIMARY KEY (plugin, key)
) STRICT;
