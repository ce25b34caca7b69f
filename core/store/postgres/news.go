package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// channel is where a change of peers or meta is notified of; never a message.
const channel = "ogp_changed"

// Changed has a value when a node may have changed peers or meta.
func (s *Store) Changed() <-chan struct{} { return s.news }

// listen hears of changes until ctx is done. While it cannot, whoever looks by itself
// finds them.
func (s *Store) listen(ctx context.Context, config *pgx.ConnConfig) {
	defer close(s.listening)
	for ctx.Err() == nil {
		s.listenOnce(ctx, config)
		core.Sleep(ctx, healEvery)
	}
}

func (s *Store) listenOnce(ctx context.Context, config *pgx.ConnConfig) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return
	}
	for {
		select {
		case s.news <- struct{}{}:
		default:
		}
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return
		}
	}
}

// Since is what was changed of peers and meta after a change.
func (s *Store) Since(ctx context.Context, seen uint64) (core.News, error) {
	n := core.News{Meta: map[string]string{}}
	if err := s.open(ctx); err != nil {
		return n, err
	}
	if seen != 0 { // mostly there is nothing new
		now, err := s.changed(ctx)
		if err != nil || uint64(now) == seen {
			n.Seen = seen
			return n, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var now int64
		if err := tx.QueryRow(ctx, "SELECT changed FROM head").Scan(&now); err != nil {
			return err
		}
		n.Seen = uint64(now)
		if err := newPeers(ctx, tx, int64(seen), &n); err != nil {
			return err
		}
		found, err := tx.Query(ctx, "SELECT key, value FROM meta WHERE changed > $1 AND key <> $2", int64(seen), []byte(schemaKey))
		if err != nil {
			return err
		}
		return each(found, func() error {
			var key, value []byte
			err := found.Scan(&key, &value)
			n.Meta[string(key)] = string(value)
			return err
		})
	})
	return n, s.wrap("read changes", err)
}

// changed is up to which change all is in the database. Who asks holds up others meanwhile.
func (s *Store) changed(ctx context.Context) (now int64, err error) {
	limited, cancel := context.WithTimeout(ctx, beatTime)
	defer cancel()
	err = s.pool.QueryRow(limited, "SELECT changed FROM head").Scan(&now)
	if ctx.Err() == nil {
		err = unavailable(err)
	}
	return now, s.wrap("read changes", err)
}

func newPeers(ctx context.Context, tx pgx.Tx, seen int64, n *core.News) error {
	found, err := tx.Query(ctx, "SELECT key, data, gone IS NOT NULL FROM peers WHERE changed > $1 ORDER BY key", seen)
	if err != nil {
		return err
	}
	return each(found, func() error {
		var key, data []byte
		var gone bool
		if err := found.Scan(&key, &data, &gone); err != nil {
			return err
		}
		if gone {
			n.Gone = append(n.Gone, core.PublicKey(key))
			return nil
		}
		p, err := rows.Decode[core.Peer](data)
		n.Peers = append(n.Peers, p)
		return err
	})
}
