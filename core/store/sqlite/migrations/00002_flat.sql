-- +goose Up
-- Schema 2: one row for a message and its receipt, integer keys, and no query
-- that walks a table that grows.

ALTER TABLE peers ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
UPDATE peers SET revision = 1, data = json_set(data, '$.revision', 1);

-- Rows of one class have the peer, the label (a message's or a receipt's intent,
-- an event's type) and the status in common: 'new', 'held' and 'replied' are
-- messages, 'event' other events, '' receipts alone.
CREATE TABLE classes (
  id      INTEGER PRIMARY KEY,
  peer    BLOB    NOT NULL,
  label   TEXT    NOT NULL,
  status  TEXT    NOT NULL,
  cleared INTEGER NOT NULL,  -- no row from before this time still holds its receipt
  UNIQUE (peer, label, status)
) STRICT;

-- All that has come and happened, in the order in which it was kept. A message
-- that came with its receipt is one row with it; hash is there as long as the
-- receipt is, id when the row is a message or an event.
CREATE TABLE log (
  seq          INTEGER PRIMARY KEY,
  id           TEXT,
  at           INTEGER NOT NULL,
  class        INTEGER NOT NULL,
  hash         INTEGER,  -- of peer and nonce
  tell         INTEGER,  -- the set of notifiers, in tells
  nonce        TEXT,
  answered     INTEGER,  -- the status of our answer
  digest       BLOB,
  answer       BLOB,
  level        TEXT,
  reason       TEXT,
  sender       TEXT,
  recipient    TEXT,
  agent        TEXT,
  sent         TEXT,
  reply_to     TEXT,
  conversation TEXT,
  project      TEXT,
  alias        TEXT,
  reply        TEXT,
  decided      TEXT,
  data         BLOB      -- a message's payload; an event as JSON
) STRICT;

-- Which notifiers a set has.
CREATE TABLE tells (
  id       INTEGER NOT NULL,
  notifier TEXT    NOT NULL,
  PRIMARY KEY (id, notifier)
) STRICT, WITHOUT ROWID;
CREATE INDEX tells_notifier ON tells (notifier, id);

-- Up to where a notifier was told, but for its rows in deliveries. It has yet to
-- be told of every row of log above that has it in its set.
CREATE TABLE cursors (
  notifier TEXT    NOT NULL PRIMARY KEY,
  seq      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What failed, waits or was skipped.
CREATE TABLE deliveries2 (
  notifier TEXT    NOT NULL,
  event    INTEGER NOT NULL,  -- log.seq
  attempts INTEGER NOT NULL,
  next     INTEGER NOT NULL,
  dead     INTEGER NOT NULL,
  created  INTEGER NOT NULL,
  error    TEXT    NOT NULL,
  grp      TEXT    NOT NULL,  -- Delivery.Group
  PRIMARY KEY (notifier, event)
) STRICT, WITHOUT ROWID;

CREATE INDEX inbox_nonce ON inbox (peer, nonce);
INSERT INTO classes (peer, label, status, cleared)
  SELECT peer, intent, status, -9223372036854775808 FROM inbox
  UNION SELECT peer, intent, '', -9223372036854775808 FROM letters
  UNION SELECT iif(ifnull(data ->> '$.peer', '') = '', zeroblob(32), unhex(substr(data ->> '$.peer', 25))), data ->> '$.type', 'event', -9223372036854775808 FROM events;

INSERT INTO log (id, at, class, hash, nonce, answered, digest, answer, level, reason, sender, recipient, agent, sent,
    reply_to, conversation, project, alias, reply, decided, data)
  SELECT i.id, i.at, c.id, iif(l.nonce IS NULL, NULL, ogp_hash(l.peer, l.nonce)), i.nonce, l.status, l.digest, l.answer, i.level, i.reason,
      i.sender, i.recipient, i.agent, i.sent, i.reply_to, i.conversation, i.project, '', i.reply, NULL, i.payload
    FROM inbox i JOIN classes c ON c.peer = i.peer AND c.label = i.intent AND c.status = i.status
      LEFT JOIN letters l ON l.peer = i.peer AND l.nonce = i.nonce AND l.at = i.at AND l.intent = i.intent
  UNION ALL SELECT e.id, e.at, c.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, CAST(e.data AS BLOB)
    FROM events e JOIN classes c ON c.peer = iif(ifnull(e.data ->> '$.peer', '') = '', zeroblob(32), unhex(substr(e.data ->> '$.peer', 25)))
      AND c.label = e.data ->> '$.type' AND c.status = 'event'
  UNION ALL SELECT NULL, l.at, c.id, ogp_hash(l.peer, l.nonce), l.nonce, l.status, l.digest, l.answer, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM letters l JOIN classes c ON c.peer = l.peer AND c.label = l.intent AND c.status = ''
    WHERE NOT EXISTS (SELECT 1 FROM inbox i INDEXED BY inbox_nonce WHERE i.peer = l.peer AND i.nonce = l.nonce AND i.at = l.at AND i.intent = l.intent)
  ORDER BY 2, 1;

CREATE UNIQUE INDEX log_id ON log (id) WHERE id IS NOT NULL;
CREATE UNIQUE INDEX log_hash ON log (hash) WHERE hash IS NOT NULL;
CREATE INDEX log_class ON log (class, at);

INSERT INTO deliveries2 SELECT d.notifier, l.seq, d.attempts, d.next, d.dead, d.created, d.error, ''
  FROM deliveries d JOIN log l ON l.id = d.event;
INSERT INTO cursors SELECT DISTINCT notifier, (SELECT ifnull(max(seq), 0) FROM log) FROM deliveries;

DROP TABLE letters;
DROP TABLE inbox;
DROP TABLE events;
DROP TABLE deliveries;
ALTER TABLE deliveries2 RENAME TO deliveries;
CREATE INDEX deliveries_due ON deliveries (notifier, next) WHERE dead = 0;
CREATE INDEX deliveries_dead ON deliveries (event, notifier) WHERE dead = 1;
CREATE INDEX deliveries_event ON deliveries (event);

CREATE TABLE outbox2 (
  seq     INTEGER PRIMARY KEY,
  id      TEXT    NOT NULL UNIQUE,
  peer    BLOB    NOT NULL,
  kind    TEXT    NOT NULL,
  state   TEXT    NOT NULL,
  nonce   TEXT    NOT NULL,
  created INTEGER NOT NULL,
  ended   INTEGER,          -- what it ages from; NULL: it waits
  body    BLOB,             -- the signed body
  data    TEXT    NOT NULL  -- the rest
) STRICT;
INSERT INTO outbox2 (id, peer, kind, state, nonce, created, ended, body, data)
  SELECT id, peer, kind, state, nonce, created, iif(state = 'waiting', NULL, iif(done = 0, created, done)), NULL, data FROM outbox ORDER BY id;
DROP TABLE outbox;
ALTER TABLE outbox2 RENAME TO outbox;
-- One peer's queue in order, the peers that envelopes wait for, and lists by state.
CREATE INDEX outbox_queue ON outbox (state, peer, id);
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

-- How many changes were kept in all, and a running hash: see record.go.
CREATE TABLE tally (
  one  INTEGER PRIMARY KEY CHECK (one = 1),
  n    INTEGER NOT NULL,
  hash INTEGER NOT NULL
) STRICT;
INSERT INTO tally VALUES (1, 0, 0);
