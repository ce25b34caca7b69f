package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// Outbox returns envelopes of ours by a filter. Those of one peer stand in a queue for each
// state, which it merges.
func (s *Store) Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error) {
	var all []*core.OutboxItem
	err := s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		seqs, err := s.outboxPlaces(ctx, tx, f)
		if err != nil {
			return err
		}
		all = make([]*core.OutboxItem, 0, len(seqs))
		return s.these(ctx, tx, theseOutbox, seqs, func(row scanner) error {
			o, err := scanOutbox(row)
			all = append(all, o)
			return err
		})
	})
	if err != nil {
		return nil, s.wrap("read outbox", err)
	}
	return all, nil
}

// envelope is the place of an envelope of ours, and its id, by which they are in order.
type envelope struct {
	id  string
	seq int64
}

// outboxPlaces finds the places of what a filter selects, in its order.
func (s *Store) outboxPlaces(ctx context.Context, tx *sql.Tx, f core.OutboxFilter) ([]int64, error) {
	if f.Before == "" {
		f.Before = "\U0010ffff" // above every id
	}
	f.Limit = rows.Limited(f.Limit)
	find := s.outboxOfPeer
	if f.Peer.IsZero() {
		find = s.outboxOfAll
	}
	all, err := find(ctx, tx, f)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b envelope) int { return either(f.Oldest, 1, -1) * strings.Compare(a.id, b.id) })
	seqs := make([]int64, min(len(all), f.Limit))
	for i := range seqs {
		seqs[i] = all[i].seq
	}
	return seqs, nil
}

func (s *Store) envelopes(ctx context.Context, tx *sql.Tx, id queryID, args ...any) (all []envelope, err error) {
	err = s.rows(ctx, tx, id, args, func(row scanner) error {
		var x envelope
		err := row.Scan(&x.id, &x.seq)
		all = append(all, x)
		return err
	})
	return all, err
}

func (s *Store) outboxOfPeer(ctx context.Context, tx *sql.Tx, f core.OutboxFilter) (all []envelope, err error) {
	states := []core.OutboxState{f.State}
	if f.State == "" {
		states = []core.OutboxState{core.OutWaiting, core.OutSent, core.OutRefused, core.OutExpired}
	}
	for _, state := range states {
		more, err := s.envelopes(ctx, tx, either(f.Oldest, outboxPage, outboxPageDown), string(state), f.Peer[:], f.After, f.Before, f.Limit)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// someEnvelopes is how many are looked at, whatever their state, before it is asked which
// peers have any of a state: an index of all by state would cost each send too much.
const someEnvelopes = 2048

func (s *Store) outboxOfAll(ctx context.Context, tx *sql.Tx, f core.OutboxFilter) (all []envelope, err error) {
	switch f.State {
	case "":
		return s.envelopes(ctx, tx, either(f.Oldest, allOutbox, allOutboxDown), f.After, f.Before, f.Limit)
	case core.OutRefused, core.OutExpired:
		return s.envelopes(ctx, tx, either(f.Oldest, outboxFailed, outboxFailedDown), string(f.State), f.After, f.Before, f.Limit)
	}
	looked := 0
	err = s.rows(ctx, tx, either(f.Oldest, outboxSome, outboxSomeDown), []any{string(f.State), f.After, f.Before, someEnvelopes}, func(row scanner) error {
		var x envelope
		fits := false
		err := row.Scan(&x.id, &x.seq, &fits)
		if looked++; fits {
			all = append(all, x)
		}
		return err
	})
	if err != nil || len(all) >= f.Limit || looked < someEnvelopes {
		return all, err
	}
	return s.outboxOfPeers(ctx, tx, f)
}

// outboxOfPeers asks which peers' queues come first, and reads those.
func (s *Store) outboxOfPeers(ctx context.Context, tx *sql.Tx, f core.OutboxFilter) (all []envelope, err error) {
	type head struct {
		peer []byte
		id   string
	}
	var heads []head
	err = s.rows(ctx, tx, either(f.Oldest, outboxHeads, outboxHeadsDown), []any{string(f.State), f.After, f.Before}, func(row scanner) error {
		var x head
		var id sql.NullString
		err := row.Scan(&x.peer, &id)
		if x.id = id.String; id.Valid {
			heads = append(heads, x)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(heads, func(a, b head) int { return either(f.Oldest, 1, -1) * strings.Compare(a.id, b.id) })
	for _, h := range heads[:min(len(heads), f.Limit)] {
		more, err := s.envelopes(ctx, tx, either(f.Oldest, outboxPage, outboxPageDown), string(f.State), h.peer, f.After, f.Before, f.Limit)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

func either[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
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
