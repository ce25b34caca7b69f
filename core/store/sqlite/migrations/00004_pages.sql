-- +goose Up
-- Schema 4: a page of all that came, and of what we sent by how it stands, costs what it
-- shows.

-- Between which times the messages in a stretch of log are, ends included. Each place is in
-- one stretch, or above all; low above high: no message is there. The stretch above all is
-- not here yet: its messages are looked at one by one.
CREATE TABLE stretches (
  first INTEGER PRIMARY KEY,  -- log.seq
  last  INTEGER NOT NULL,
  low   INTEGER NOT NULL,
  high  INTEGER NOT NULL
) STRICT;
CREATE INDEX stretches_low ON stretches (low);
CREATE INDEX stretches_high ON stretches (high);

INSERT INTO stretches (first, last, low, high)
  SELECT l.seq / 1024 * 1024 + 1, l.seq / 1024 * 1024 + 1024, min(l.at), max(l.at) FROM (SELECT seq - 1 AS seq, at, class, id FROM log) l
    JOIN classes c ON c.id = l.class WHERE l.id IS NOT NULL AND c.status NOT IN ('', 'event') GROUP BY 1
    HAVING l.seq / 1024 * 1024 + 1024 < (SELECT max(seq) FROM log);

-- What has failed is rare: this costs what is sent nothing.
CREATE INDEX outbox_failed ON outbox (state, id) WHERE state IN ('refused', 'expired');
