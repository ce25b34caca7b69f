-- +goose Up
SET LOCAL lock_timeout = '2s';

-- Gateways of an older schema than this keep nothing any more. Whoever commits reads it in
-- the transaction itself.
ALTER TABLE head ADD COLUMN least integer NOT NULL DEFAULT 4;

-- What the gateway knows: the number of its last migration.
ALTER TABLE nodes ADD COLUMN schema integer NOT NULL DEFAULT 4;
