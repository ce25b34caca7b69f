-- +goose NO TRANSACTION
-- +goose Up
-- A migration of a version to come, for .ci/nodes-run alone: it only adds.
ALTER TABLE log ADD COLUMN IF NOT EXISTS colour text NOT NULL DEFAULT 'grey';
DROP INDEX CONCURRENTLY IF EXISTS log_colour;
CREATE INDEX CONCURRENTLY log_colour ON log (colour, seq);
CREATE TABLE IF NOT EXISTS colours (name text NOT NULL PRIMARY KEY);
