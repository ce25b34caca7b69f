-- +goose Up
SET LOCAL lock_timeout = '2s';

-- Which messages have reached the agent: what these may cost in a day is counted here.
ALTER TABLE receipts ADD COLUMN notified boolean NOT NULL DEFAULT false;
