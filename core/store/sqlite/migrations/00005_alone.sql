-- +goose Up
-- Schema 5: that an event goes to a notifier in a call of its own is kept with the event.
ALTER TABLE tells ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
