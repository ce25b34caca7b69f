package sqlite

import (
	"context"
	"database/sql"
	"slices"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// Outbox returns envelopes of ours by a filter. It walks the queues that the
// filter names, one for each peer and state, and merges them.
func (s *Store) Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error) {
	var all []*core.OutboxItem
	err := s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		ids, err := s.outboxIDs(ctx, tx, f)
		if err != nil {
			return err
		}
		for _, id := range ids {
			err := s.rows(ctx, tx, oneOutbox, []any{id}, func(row scanner) error {
				o, err := scanOutbox(row)
				all = append(all, o)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, s.wrap("read outbox", err)
	}
	return all, nil
}

// outboxIDs finds the ids of what a filter selects, in its order.
func (s *Store) outboxIDs(ctx context.Context, tx *sql.Tx, f core.OutboxFilter) (ids []string, err error) {
	before := f.Before
	if before == "" {
		before = "\U0010ffff" // above every id
	}
	limit := limited(f.Limit)
	collect := func(row scanner) error {
		var id string
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}
	if f.Peer.IsZero() && f.State == "" {
		all, down := allOutbox, allOutboxDown
		err := s.rows(ctx, tx, either(f.Oldest, all, down), []any{f.After, before, limit}, collect)
		return ids, err
	}
	states := []core.OutboxState{f.State}
	if f.State == "" {
		states = []core.OutboxState{core.OutWaiting, core.OutSent, core.OutRefused, core.OutExpired}
	}
	for _, state := range states {
		peers := []core.PublicKey{f.Peer}
		if f.Peer.IsZero() {
			if peers, err = s.outboxPeers(ctx, tx, state); err != nil {
				return nil, err
			}
		}
		for _, peer := range peers {
			args := []any{string(state), peer[:], f.After, before, limit}
			if err := s.rows(ctx, tx, either(f.Oldest, outboxPage, outboxPageDown), args, collect); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(ids)
	if !f.Oldest {
		slices.Reverse(ids)
	}
	return ids[:min(len(ids), limit)], nil
}

func either[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

// outboxPeers lists the peers that have envelopes in a state.
func (s *Store) outboxPeers(ctx context.Context, tx *sql.Tx, state core.OutboxState) (peers []core.PublicKey, err error) {
	err = s.rows(ctx, tx, outboxPeers, []any{string(state)}, func(row scanner) error {
		var key []byte
		if err := row.Scan(&key); err != nil {
			return err
		}
		peers = append(peers, core.PublicKey(key))
		return nil
	})
	return peers, err
}

func scanOutbox(row scanner) (*core.OutboxItem, error) {
	var body []byte
	var data sql.RawBytes
	if err := row.Scan(&body, &data); err != nil {
		return nil, err
	}
	return outboxItem(body, data)
}

func outboxItem(body, data []byte) (*core.OutboxItem, error) {
	o, err := rows.Decode[core.OutboxItem](data)
	if err == nil && body != nil {
		o.Body = body
	}
	return o, err
}

// OutboxItem finds one envelope of ours.
func (s *Store) OutboxItem(ctx context.Context, id string) (*core.OutboxItem, error) {
	return s.oneOutbox(ctx, oneOutbox, "outbox item", id)
}

// OutboxByNonce finds a message of ours by its nonce.
func (s *Store) OutboxByNonce(ctx context.Context, nonce core.Nonce) (*core.OutboxItem, error) {
	return s.oneOutbox(ctx, outboxByNonce, "message sent with nonce", string(nonce))
}

func (s *Store) oneOutbox(ctx context.Context, id queryID, what, key string) (*core.OutboxItem, error) {
	var body, data []byte
	if err := s.row(ctx, id, []any{key}, &body, &data); err != nil {
		return nil, s.missing(err, what, key)
	}
	o, err := outboxItem(body, data)
	return o, s.wrap("read "+what, err)
}

// WaitingPeers returns the peers that an envelope waits for.
func (s *Store) WaitingPeers(ctx context.Context) (peers []core.PublicKey, err error) {
	if ctx, err = short(ctx); err != nil {
		return nil, err
	}
	err = s.rows(ctx, nil, waitingPeers, nil, func(row scanner) error {
		var key []byte
		if err := row.Scan(&key); err != nil {
			return err
		}
		peers = append(peers, core.PublicKey(key))
		return nil
	})
	return peers, s.wrap("read outbox", err)
}

// Reply finds the reply that came from a peer.
func (s *Store) Reply(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.StoredReply, error) {
	return one[core.StoredReply](ctx, s, oneReply, "reply", string(nonce), peer[:])
}

// OurReply finds what we have answered under a nonce, the first that was given.
func (s *Store) OurReply(ctx context.Context, nonce core.Nonce) (*core.StoredReply, error) {
	return one[core.StoredReply](ctx, s, ourReply, "reply of ours to", string(nonce))
}
