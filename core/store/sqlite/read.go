package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// prepare prepares all queries. One that were prepared when it is first needed would
// want a connection while its caller holds one, and so could wait for ever.
func (s *Store) prepare(ctx context.Context) error {
	for id, text := range queries {
		var err error
		if s.queries[id], err = s.read.PrepareContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) query(id queryID) (*sql.Stmt, error) {
	if s.isClosed() {
		return nil, rows.ErrClosed
	}
	return s.queries[id], nil
}

// short is a context for a query that ends soon by itself: watching for the end
// of a context would cost more than the query.
func short(ctx context.Context) (context.Context, error) {
	return context.WithoutCancel(ctx), ctx.Err()
}

func conditions(where []string) string { return " WHERE " + strings.Join(where, " AND ") }

// search runs a query that was put together. It may take long, so it ends with ctx.
func (s *Store) search(ctx context.Context, q string, args []any, f func(scanner) error) error {
	if s.isClosed() {
		return rows.ErrClosed
	}
	rows, err := s.read.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	return each(rows, f)
}

// searchIn is search within tx.
func (s *Store) searchIn(ctx context.Context, tx *sql.Tx, q string, args []any, f func(scanner) error) error {
	rows, err := tx.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	return each(rows, f)
}

// row reads at most one row. It returns sql.ErrNoRows for none.
func (s *Store) row(ctx context.Context, id queryID, args []any, into ...any) error {
	ctx, err := short(ctx)
	if err != nil {
		return err
	}
	st, err := s.query(id)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(into...)
}

// scanner is a row that can be read: *sql.Row or *sql.Rows.
type scanner interface{ Scan(...any) error }

// each calls f for every row.
func each(rows *sql.Rows, f func(scanner) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// rows runs a query within tx, or alone when tx is nil, and calls f for every row.
func (s *Store) rows(ctx context.Context, tx *sql.Tx, id queryID, args []any, f func(scanner) error) error {
	st, err := s.query(id)
	if err != nil {
		return err
	}
	if tx != nil {
		st = tx.StmtContext(ctx, st)
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return each(rows, f)
}

// view runs f with all its queries seeing one state.
func (s *Store) view(ctx context.Context, f func(context.Context, *sql.Tx) error) (err error) {
	if ctx, err = short(ctx); err != nil {
		return err
	}
	if s.isClosed() {
		return rows.ErrClosed
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing was written
	return f(ctx, tx)
}

func decodeRow[T any](row scanner) (*T, error) {
	var data sql.RawBytes
	if err := row.Scan(&data); err != nil {
		return nil, err
	}
	return rows.Decode[T](data)
}

// one finds a value by its key, and says what it did not find.
func one[T any](ctx context.Context, s *Store, id queryID, what string, args ...any) (*T, error) {
	var data []byte
	if err := s.row(ctx, id, args, &data); err != nil {
		return nil, s.missing(err, what, args[0])
	}
	v, err := rows.Decode[T](data)
	return v, s.wrap("read "+what, err)
}

func (s *Store) missing(err error, what string, key any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return rows.NotFound("%s %q", what, key)
	}
	return s.wrap("read "+what, err)
}

// list reads all values that a query gives.
func list[T any](ctx context.Context, s *Store, id queryID, what string, args ...any) ([]*T, error) {
	ctx, err := short(ctx)
	if err != nil {
		return nil, err
	}
	var all []*T
	err = s.rows(ctx, nil, id, args, func(row scanner) error {
		v, err := decodeRow[T](row)
		all = append(all, v)
		return err
	})
	if err != nil {
		return nil, s.wrap("read "+what, err)
	}
	return all, nil
}

// Peers returns all peers, in the order of their keys.
func (s *Store) Peers(ctx context.Context) ([]*core.Peer, error) {
	return list[core.Peer](ctx, s, allPeers, "peers")
}

// Receipt finds what we answered to a peer's nonce.
func (s *Store) Receipt(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.Receipt, error) {
	l := &core.Receipt{Peer: peer, Nonce: nonce}
	var at int64
	var digest []byte
	err := s.row(ctx, oneReceipt, []any{hashOf(peer, nonce), string(nonce), peer[:]}, &at, &l.Intent, &l.Status, &digest, &l.Answer)
	if err != nil {
		return nil, s.missing(err, "receipt", nonce)
	}
	l.At = rows.FromNanos(at)
	copy(l.Digest[:], digest)
	return l, nil
}

// EachNonce calls f with the hash of every receipt.
func (s *Store) EachNonce(ctx context.Context, f func(hash uint64)) error {
	err := s.search(ctx, eachHash, nil, func(row scanner) error {
		var hash int64
		err := row.Scan(&hash)
		f(uint64(hash))
		return err
	})
	return s.wrap("read nonces", err)
}

// EachReceipt calls f for receipts since a time, those of one peer and intent
// together. f may use the store.
func (s *Store) EachReceipt(ctx context.Context, since time.Time, most int, f func(core.Receipt)) error {
	if most <= 0 {
		most = math.MaxInt64
	}
	classes, err := s.classes(ctx)
	if err != nil {
		return s.wrap("read receipts", err)
	}
	// A message that is answered meanwhile goes from class to class, so that its
	// receipt may come twice, but is not left out: see classes.
	for _, k := range classes {
		if k.status == classEvent {
			continue
		}
		l := core.Receipt{Peer: k.peer, Intent: k.label}
		err := s.rows(ctx, nil, receiptsSince, []any{k.id, sinceNanos(since), most}, func(row scanner) error {
			var at int64
			if err := row.Scan((*string)(&l.Nonce), &at, &l.Bytes); err != nil {
				return err
			}
			l.At = rows.FromNanos(at)
			f(l)
			return nil
		})
		if err != nil {
			return s.wrap("read receipts", err)
		}
	}
	return nil
}

// classRow is a row of classes.
type classRow struct {
	classKey
	id, cleared int64
}

// classes lists all classes, by age. Those of receipts alone come last, so that a
// receipt that a message leaves behind is met there.
func (s *Store) classes(ctx context.Context) ([]classRow, error) {
	all, err := s.classesLike(ctx, nil, nil, "", nil, -1)
	slices.SortStableFunc(all, func(a, b classRow) int { return cmp.Compare(order(a.status), order(b.status)) })
	return all, err
}

// order is that in which a row can go from class to class.
func order(status string) int {
	return slices.Index([]string{string(core.InboxHeld), string(core.InboxNew), string(core.InboxReplied), classEvent, classReceipt}, status)
}

func (s *Store) classesLike(ctx context.Context, tx *sql.Tx, peer any, label string, status any, most int) (all []classRow, err error) {
	err = s.rows(ctx, tx, either(peer == nil, classesLike, classesOf), []any{peer, label, status, most}, func(row scanner) error {
		var k classRow
		var key []byte
		err := row.Scan(&k.id, &key, &k.label, &k.status, &k.cleared)
		copy(k.peer[:], key)
		all = append(all, k)
		return err
	})
	return all, err
}

// sinceNanos is nanos for a lower bound: no time lets all through.
func sinceNanos(t time.Time) int64 {
	if t.IsZero() {
		return rows.NoTime
	}
	return rows.Nanos(t)
}

// Meta finds a value by its key.
func (s *Store) Meta(ctx context.Context, key string) (string, error) {
	var value string
	if err := s.row(ctx, oneMeta, []any{key}, &value); err != nil {
		return "", s.missing(err, "meta", key)
	}
	return value, nil
}

// KV finds a value of a plugin's memory.
func (s *Store) KV(ctx context.Context, plugin, key string) ([]byte, error) {
	var value []byte
	if err := s.row(ctx, oneKV, []any{plugin, []byte(key)}, &value); err != nil {
		return nil, s.missing(err, "value", key)
	}
	if value == nil {
		value = []byte{}
	}
	return value, nil
}

// KVList returns the sizes of a plugin's values whose keys begin with prefix.
func (s *Store) KVList(ctx context.Context, plugin, prefix string) (map[string]int, error) {
	sizes := map[string]int{}
	err := s.rows(ctx, nil, listKV, []any{plugin, []byte(prefix), after(prefix)}, func(row scanner) error {
		var key string
		var size int
		if err := row.Scan(&key, &size); err != nil {
			return err
		}
		sizes[key] = size
		return nil
	})
	if err != nil {
		return nil, s.wrap("read values", err)
	}
	return sizes, nil
}

// after is the first key behind all that begin with prefix; nil: there is none.
func after(prefix string) []byte {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return b[:i+1]
		}
	}
	return nil
}
