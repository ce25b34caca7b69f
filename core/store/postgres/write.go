package postgres

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/group"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// idleText is idleMost as PostgreSQL writes it.
var idleText = strconv.Itoa(int(idleMost / time.Millisecond))

// request is a change on its way to the writer.
type request struct {
	group.Change
	change *core.Change
	*prepared
}

// Commit keeps a change. When ctx ends before the writer has taken the change,
// nothing is kept and the context's error is returned; from then on Commit waits
// for the database. It returns NotFound when a delivery names an event that is not
// kept, and Internal for a change that no store could keep. Where the database went
// away during a commit, whether it was kept is not known, and Commit returns
// Unavailable: a receipt that was kept refuses the change when it is tried again.
func (s *Store) Commit(ctx context.Context, c *core.Change) error {
	p, err := prepare(c)
	if err != nil {
		return err
	}
	return s.queue.Submit(ctx, &request{change: c, prepared: p}, c.Lazy, rows.ErrClosed)
}

func (s *Store) keep(batch []*request) {
	group.Write(&s.writer, s.queue, batch, s.transact, core.Internal)
}

// run is the writer of what no caller writes itself. It ends when the store is closed and nothing waits.
func (s *Store) run() {
	defer close(s.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		some, wait := s.queue.Step()
		switch {
		case some:
			continue
		case wait < 0:
			return
		}
		ill := s.writer.Ill() != nil
		if ill {
			wait = min(wait, healEvery)
		}
		timer.Reset(wait)
		select {
		case <-s.queue.Wake():
		case <-timer.C:
			if ill {
				s.queue.Alone(func() { s.writer.Feel(s.transact(nil)) }) // as a change would find it
			}
		}
	}
}

// transact runs the changes in one transaction. Refusals are left in the request
// itself; a returned error means that none of the batch is kept, or that it is not
// known, whatever their own errors say.
func (s *Store) transact(batch []*request) error {
	within := writeTime
	switch {
	case len(batch) == 0:
		within = beatTime
	case s.writer.Ill() != nil: // who waits is answered before they leave
		within = illTime
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return s.wrap("connect", unavailable(err))
	}
	defer conn.Release()
	if err := s.transactOn(ctx, conn, batch); err != nil {
		// What the server makes of it: the connection is given back outside of any
		// transaction, or not at all.
		if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
			_ = conn.Conn().Close(ctx)
		}
		return s.wrap("write", unavailable(err))
	}
	return nil
}

// unavailable keeps a time that ran out from being taken for the caller's own.
func unavailable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("it did not answer in time")
	}
	return err
}

func (s *Store) transactOn(ctx context.Context, conn *pgxpool.Conn, batch []*request) error {
	for _, r := range batch {
		r.Err = nil
	}
	k := newKept(batch, &s.windows)
	if err := s.look(ctx, conn, k); err != nil {
		return err
	}
	for _, r := range batch {
		r.Err = k.judge(r)
		if r.Err == nil {
			k.fold(r)
		}
	}
	var out pgx.Batch
	k.write(&out)
	out.Queue("COMMIT")
	err := conn.SendBatch(ctx, &out).Close()
	for key := range k.limits {
		if c := s.counted[key]; err == nil {
			s.counted[key] = counted{c.back, k.place}
		} else { // what is in the window may not be kept
			s.uncount(key)
		}
	}
	return err
}

// look begins the transaction and reads what the changes are judged by, in one round trip.
// From its first answer on, no other node commits until this transaction has ended.
func (s *Store) look(ctx context.Context, conn *pgxpool.Conn, k *kept) error {
	var b pgx.Batch
	b.Queue("BEGIN")
	if s.ensure {
		b.Queue("SET LOCAL synchronous_commit = on")
	}
	b.Queue("SELECT seq, changed, place, least, set_config('idle_in_transaction_session_timeout', $1, true) FROM head FOR UPDATE", idleText).QueryRow(func(row pgx.Row) error {
		var least int
		err := row.Scan(&k.seq, &k.changed, &k.place, &least, nil)
		k.was = k.head()
		if err == nil && least > s.knows {
			err = s.tooOld(core.Unavailable, least)
		}
		return err
	})
	if len(k.nonces) > 0 {
		b.Queue(`SELECT peer, nonce FROM receipts WHERE (peer, nonce) IN (SELECT * FROM unnest($1::bytea[], $2::bytea[]))`, k.noncePeers, k.nonces).
			Query(func(rows pgx.Rows) error {
				return each(rows, func() error {
					var peer, nonce []byte
					err := rows.Scan(&peer, &nonce)
					k.taken[receiptKey{core.PublicKey(peer), string(nonce)}] = true
					return err
				})
			})
	}
	if len(k.expected) > 0 {
		b.Queue(`SELECT key, revision, changed FROM peers WHERE key = ANY($1)`, k.expected).Query(func(rows pgx.Rows) error {
			return each(rows, func() error {
				var key []byte
				var revision, changed int64
				err := rows.Scan(&key, &revision, &changed)
				k.revisions[core.PublicKey(key)], k.touched[core.PublicKey(key)] = uint64(revision), changed
				return err
			})
		})
	}
	if len(k.limits) > 0 {
		s.count(&b, k)
	}
	if len(k.leases) > 0 {
		// Whoever takes one of them waits until this transaction has ended, and then reads
		// what it has kept.
		b.Queue(`SELECT name, fence FROM leases WHERE name = ANY($1) ORDER BY name FOR SHARE`, k.leases).Query(func(rows pgx.Rows) error {
			return each(rows, func() error {
				var name string
				var fence int64
				err := rows.Scan(&name, &fence)
				k.fences[name] = uint64(fence)
				return err
			})
		})
	}
	if len(k.named) > 0 {
		b.Queue(`SELECT id, seq FROM log WHERE id = ANY($1)`, k.named).Query(func(rows pgx.Rows) error {
			return each(rows, func() error {
				var id []byte
				var seq int64
				err := rows.Scan(&id, &seq)
				k.places[string(id)] = seq
				return err
			})
		})
	}
	return conn.SendBatch(ctx, &b).Close()
}

// each calls f for every row.
func each(rows pgx.Rows, f func() error) error {
	defer rows.Close()
	for rows.Next() {
		if err := f(); err != nil {
			return err
		}
	}
	return rows.Err()
}
