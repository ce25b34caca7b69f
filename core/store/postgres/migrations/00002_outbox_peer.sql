-- +goose Up
-- A page of what we sent to one peer, in whatever state.
CREATE INDEX outbox_peer ON outbox (peer, id);
