-- +goose Up
-- Times are Unix nanoseconds, UTC; 0 is no time. Keys and all that a peer or a plugin
-- chose are bytea, which holds any bytes and sorts by them. "data" is JSON of the core
-- type, written by package rows.

CREATE TABLE meta (
  key   bytea NOT NULL PRIMARY KEY,
  value bytea NOT NULL
);

-- One row: how far the log is. Whoever commits has locked it, so that places in the log
-- follow each other as commits do, on whatever node.
CREATE TABLE head (
  one boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
  seq bigint  NOT NULL
);
INSERT INTO head (seq) VALUES (0);

-- Who may commit. A holder that was overtaken has an older fence.
CREATE TABLE leases (
  name   text        NOT NULL PRIMARY KEY,
  holder text        NOT NULL,
  fence  bigint      NOT NULL,
  until  timestamptz NOT NULL
);

CREATE TABLE peers (
  key      bytea  NOT NULL PRIMARY KEY,
  revision bigint NOT NULL,
  data     text   NOT NULL
);

-- What a peer sent once, and our answer to it.
CREATE TABLE receipts (
  peer   bytea   NOT NULL,
  nonce  bytea   NOT NULL,
  at     bigint  NOT NULL,
  intent bytea   NOT NULL,
  bytes  bigint  NOT NULL,
  status integer NOT NULL,
  digest bytea   NOT NULL,
  answer bytea   NOT NULL,
  PRIMARY KEY (peer, nonce)
);
CREATE INDEX receipts_at ON receipts (at);
CREATE INDEX receipts_newest ON receipts (peer, intent, at);

-- All that has come and happened, in the order in which it was kept.
CREATE TABLE log (
  seq     bigint  NOT NULL PRIMARY KEY,
  id      bytea   NOT NULL UNIQUE,
  at      bigint  NOT NULL,
  message boolean NOT NULL,  -- and not an event of another kind
  peer    bytea   NOT NULL,
  intent  bytea   NOT NULL,  -- a message's
  status  text    NOT NULL,  -- a message's
  data    text    NOT NULL
);
CREATE INDEX log_time ON log (message, at, seq);
CREATE INDEX log_peer ON log (peer, at, seq) WHERE message;
CREATE INDEX log_status ON log (status, at, seq) WHERE message AND status <> 'new';

-- What notifiers are yet to be told, or could not be.
CREATE TABLE deliveries (
  notifier bytea   NOT NULL,
  seq      bigint  NOT NULL,  -- log.seq
  attempts integer NOT NULL,
  next     bigint  NOT NULL,
  dead     boolean NOT NULL,
  created  bigint  NOT NULL,
  error    bytea   NOT NULL,
  grp      bytea   NOT NULL,  -- Delivery.Group
  PRIMARY KEY (notifier, seq)
);
CREATE INDEX deliveries_due ON deliveries (notifier, next) WHERE NOT dead;
CREATE INDEX deliveries_dead ON deliveries (seq, notifier) WHERE dead;
CREATE INDEX deliveries_event ON deliveries (seq);

CREATE TABLE outbox (
  id      bytea  NOT NULL PRIMARY KEY,
  peer    bytea  NOT NULL,
  kind    text   NOT NULL,
  state   text   NOT NULL,
  nonce   bytea  NOT NULL,
  created bigint NOT NULL,
  ended   bigint,            -- what it ages from; NULL: it waits
  body    bytea,             -- the signed body
  data    text   NOT NULL    -- the rest
);
CREATE INDEX outbox_queue ON outbox (state, peer, id);
CREATE INDEX outbox_nonce ON outbox (nonce, id) WHERE kind = 'message';
CREATE INDEX outbox_ended ON outbox (ended) WHERE ended IS NOT NULL;

CREATE TABLE replies (
  nonce   bytea   NOT NULL,
  peer    bytea   NOT NULL,
  ours    boolean NOT NULL,
  at      bigint  NOT NULL,
  expires bigint  NOT NULL,
  data    text    NOT NULL,
  PRIMARY KEY (nonce, peer, ours)
);
CREATE INDEX replies_expires ON replies (expires) WHERE expires <> 0;

CREATE TABLE kv (
  plugin bytea NOT NULL,
  key    bytea NOT NULL,
  value  bytea NOT NULL,
  PRIMARY KEY (plugin, key)
);
