-- +goose Up
-- A page of what we sent by how it stands, and the first that waits.
CREATE INDEX outbox_state ON outbox (state, id);
