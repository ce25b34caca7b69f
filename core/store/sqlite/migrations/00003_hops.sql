-- +goose Up
-- Schema 3: what a message came through is kept with it, so that a chain of agents' answers
-- ends where it must, whatever is restarted in between.
ALTER TABLE log ADD COLUMN hops TEXT;
