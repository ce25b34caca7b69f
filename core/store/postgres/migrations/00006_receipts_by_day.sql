-- +goose NO TRANSACTION
-- +goose Up
-- From now on each day's receipts are a table of their own, which is dropped when they have
-- had their time. Those that there are stay where they are: their table becomes the first
-- part, up to a moment that lies ahead. Whether they fit is looked at first, while all goes
-- on; then the change itself takes no time. Cut short at any place, this begins again.
-- +goose StatementBegin
DO $$
DECLARE
  day constant bigint := 86400000000000;
  today constant bigint := extract(epoch FROM now())::bigint * 1000000000 / day * day;
  newest bigint;
BEGIN
  SET LOCAL lock_timeout = '2s';
  LOCK TABLE receipts IN ACCESS EXCLUSIVE MODE;
  IF (SELECT relkind FROM pg_class WHERE oid = 'receipts'::regclass) = 'p' THEN
    RETURN;
  END IF;
  SELECT max(at) INTO newest FROM receipts;
  ALTER TABLE receipts DROP CONSTRAINT IF EXISTS receipts_until;
  EXECUTE format('ALTER TABLE receipts ADD CONSTRAINT receipts_until CHECK (at < %s) NOT VALID',
    greatest(today + 3 * day, coalesce(newest, 0) / day * day + day));
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
BEGIN
  IF (SELECT relkind FROM pg_class WHERE oid = 'receipts'::regclass) <> 'p' THEN
    ALTER TABLE receipts VALIDATE CONSTRAINT receipts_until;
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
DECLARE
  day constant bigint := 86400000000000;
  today constant bigint := extract(epoch FROM now())::bigint * 1000000000 / day * day;
  until bigint;
BEGIN
  SET LOCAL lock_timeout = '2s';
  PERFORM seq FROM head FOR UPDATE; -- as every commit begins
  LOCK TABLE receipts IN ACCESS EXCLUSIVE MODE;
  IF (SELECT relkind FROM pg_class WHERE oid = 'receipts'::regclass) = 'p' THEN
    RETURN;
  END IF;
  SELECT substring(pg_get_constraintdef(oid) FROM '\d{12,}')::bigint INTO STRICT until
    FROM pg_constraint WHERE conrelid = 'receipts'::regclass AND conname = 'receipts_until';
  IF NOT EXISTS (SELECT FROM receipts) THEN -- today is the first day
    until := today;
  END IF;
  ALTER TABLE receipts RENAME TO receipts_before;
  ALTER INDEX receipts_pkey RENAME TO receipts_before_pkey;
  ALTER INDEX receipts_at RENAME TO receipts_before_at;
  ALTER INDEX receipts_place RENAME TO receipts_before_place;
  -- Each part has its own primary key (peer, nonce).
  CREATE TABLE receipts (LIKE receipts_before INCLUDING DEFAULTS) PARTITION BY RANGE (at);
  CREATE INDEX receipts_at ON receipts (at);
  CREATE INDEX receipts_place ON receipts (peer, intent, place);
  EXECUTE format('ALTER TABLE receipts ATTACH PARTITION receipts_before FOR VALUES FROM (MINVALUE) TO (%s)', until);
  ALTER TABLE receipts_before DROP CONSTRAINT receipts_until;
  -- For a day that nobody has made a part for.
  CREATE TABLE receipts_other (LIKE receipts INCLUDING DEFAULTS, PRIMARY KEY (peer, nonce));
  ALTER TABLE receipts ATTACH PARTITION receipts_other DEFAULT;
END $$;
-- +goose StatementEnd
