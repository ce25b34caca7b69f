package sqlite

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	moderncsqlite "modernc.org/sqlite"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// The statuses of classes that are not of messages.
const (
	classReceipt = ""
	classEvent   = "event"
)

// classKey is what the rows of a class have in common.
type classKey struct {
	peer          core.PublicKey
	label, status string
}

type class struct {
	id      int64
	cleared int64 // as the column
}

// index is what the writer knows of the small tables. It is of who has the queue's turn, and
// read again after a transaction that failed.
type index struct {
	classes map[classKey]*class
	tells   map[string]int64 // by the names of the set, joined, perhaps with aloneMark
	cursors map[string]int64 // by notifier
	floors  map[string]int64 // by notifier: up to here it has nothing to be told
	recent  map[string]*recent
	tally   tally   // what was kept in all
	seq     int64   // the last that was given to a row of log
	open    stretch // of log, which is not in stretches yet

	revisions map[core.PublicKey]int64 // of peers' records that were asked for; 0: there is none
}

// recent are the rows of log above one place that a notifier is yet to be told, as they were
// put: all of them, so that the file need not be asked.
type recent struct {
	above int64
	rows  []recentRow
}

type recentRow struct {
	seq int64
	id  string
}

// maxRecent bounds what is held of one notifier. Past it, the file is asked again.
const maxRecent = 2048

// put notes a row whose event a notifier is to be told.
func (b *index) put(notifier string, row recentRow) {
	r := b.recent[notifier]
	if r == nil || len(r.rows) == maxRecent {
		r = &recent{above: row.seq - 1}
		b.recent[notifier] = r
	}
	r.rows = append(r.rows, row)
}

// after are the rows above a cursor; ok is false where not all are here.
func (b *index) after(notifier string, cursor int64) (rows []recentRow, ok bool) {
	r := b.recent[notifier]
	if r == nil || r.above > cursor {
		return nil, false
	}
	n := 0
	for n < len(r.rows) && r.rows[n].seq <= cursor {
		n++
	}
	r.rows = r.rows[n:]
	return r.rows, true
}

// readIndex fills the index from the file.
func (s *Store) readIndex(ctx context.Context) error {
	b := index{classes: map[classKey]*class{}, tells: map[string]int64{}, cursors: map[string]int64{}, floors: map[string]int64{},
		recent: map[string]*recent{}, revisions: map[core.PublicKey]int64{}}
	all := func(q string, f func(row scanner) error) error {
		rows, err := s.conn.QueryContext(ctx, q)
		if err != nil {
			return err
		}
		return each(rows, f)
	}
	sets := map[int64][]string{}
	err := errors.Join(
		all(`SELECT id, peer, label, status, cleared FROM classes`, func(row scanner) error {
			var k classKey
			var c class
			var peer []byte
			err := row.Scan(&c.id, &peer, &k.label, &k.status, &c.cleared)
			copy(k.peer[:], peer)
			b.classes[k] = &c
			return err
		}),
		all(`SELECT id, notifier, alone FROM tells ORDER BY id, notifier`, func(row scanner) error {
			var id int64
			var name string
			var alone bool
			err := row.Scan(&id, &name, &alone)
			sets[id] = append(sets[id], name+either(alone, aloneMark, ""))
			return err
		}),
		all(`SELECT notifier, seq FROM cursors`, func(row scanner) error {
			var name string
			var seq int64
			err := row.Scan(&name, &seq)
			b.cursors[name] = seq
			b.seq = max(b.seq, seq)
			return err
		}),
		all(`SELECT n, hash FROM tally`, func(row scanner) error { return row.Scan(&b.tally.n, &b.tally.hash) }),
		all(`SELECT max(ifnull((SELECT max(seq) FROM log), 0), ifnull((SELECT max(event) FROM deliveries INDEXED BY deliveries_event), 0))`, func(row scanner) error {
			var seq int64
			err := row.Scan(&seq)
			b.seq = max(b.seq, seq)
			return err
		}),
	)
	open, wrong := s.readOpen(ctx)
	b.open, err = open, errors.Join(err, wrong)
	for id, names := range sets {
		b.tells[setName(names)] = id
	}
	b.tally.n = max(b.tally.n, s.index.tally.n) // which may be above: see checkRecord
	s.index = b
	return err
}

func setName(sorted []string) string { return strings.Join(sorted, "\x00") }

// class returns the class of a key, and makes it where there is none.
func (s *Store) class(k classKey) (*class, error) {
	if c := s.index.classes[k]; c != nil {
		return c, nil
	}
	c := &class{cleared: rows.NoTime}
	var err error
	if c.id, err = s.insert(putClass, k.peer[:], k.label, k.status); err != nil {
		return nil, err
	}
	s.index.classes[k] = c
	return c, nil
}

// tell returns the id of a set of notifiers, nil for nobody, and begins the
// cursors of those that are new in front of the row seq.
func (s *Store) tell(names []string, seq int64) (driver.Value, error) {
	if len(names) == 0 {
		return nil, nil
	}
	for _, name := range names {
		notifier := strings.TrimSuffix(name, aloneMark)
		if _, ok := s.index.cursors[notifier]; !ok {
			if err := s.moveCursor(notifier, seq-1); err != nil {
				return nil, err
			}
		}
	}
	if !slices.IsSorted(names) {
		names = slices.Sorted(slices.Values(names))
	}
	set := setName(names)
	if id, ok := s.index.tells[set]; ok {
		return id, nil
	}
	id := int64(1)
	for _, other := range s.index.tells {
		id = max(id, other+1)
	}
	for _, name := range names {
		notifier, alone := strings.CutSuffix(name, aloneMark)
		if _, err := s.exec(putTell, id, notifier, alone); err != nil {
			return nil, err
		}
	}
	s.index.tells[set] = id
	return id, nil
}

func (s *Store) moveCursor(notifier string, seq int64) error {
	_, err := s.exec(putCursor, notifier, seq)
	s.index.cursors[notifier] = seq
	return err
}

// hashOf is where the receipt of a peer's nonce is found. That two share one is
// possible, and as good as never: the second then takes the place behind.
func hashOf(peer core.PublicKey, nonce core.Nonce) int64 { return int64(core.NonceHash(peer, nonce)) }

// registerHash gives SQL the function ogp_hash, for the migration of receipts.
// Connections that are opened later have it.
var registerHash = sync.OnceValue(func() error {
	return moderncsqlite.RegisterDeterministicScalarFunction("ogp_hash", 2, func(_ *moderncsqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		return hashOf(keyOf(args[0]), core.Nonce(textOf(args[1]))), nil
	})
})

// named gives values their places, in memory that the writer uses again.
func (s *Store) named(values []driver.Value) []driver.NamedValue {
	s.args = s.args[:0]
	for i, v := range values {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return s.args
}

// exec runs a statement of the writer and returns how many rows it changed.
func (s *Store) exec(id writeID, values ...driver.Value) (int64, error) {
	res, err := s.stmts[id].(driver.StmtExecContext).ExecContext(context.Background(), s.named(values))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// insert is exec for a row whose id the database chooses.
func (s *Store) insert(id writeID, values ...driver.Value) (int64, error) {
	res, err := s.stmts[id].(driver.StmtExecContext).ExecContext(context.Background(), s.named(values))
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

var errEnough = errors.New("enough")

// ask runs a query of the writer and calls f with each row, of n columns, until f
// returns errEnough. The values are f's only during the call.
func (s *Store) ask(id writeID, n int, f func(row []driver.Value) error, values ...driver.Value) (err error) {
	rows, err := s.stmts[id].(driver.StmtQueryContext).QueryContext(context.Background(), s.named(values))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	row := make([]driver.Value, n)
	for {
		switch err := rows.Next(row); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
		switch err := f(row); err {
		case nil:
		case errEnough:
			return nil
		default:
			return err
		}
	}
}

// holds runs a statement that answers with 1 or 0.
func (s *Store) holds(id writeID, values ...driver.Value) (yes bool, err error) {
	err = s.ask(id, 1, func(row []driver.Value) error {
		yes = row[0] == int64(1)
		return nil
	}, values...)
	return yes, err
}

// keyOf reads a peer's key from a column.
func keyOf(v driver.Value) (k core.PublicKey) {
	b, _ := v.([]byte)
	copy(k[:], b)
	return k
}

func textOf(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(bytes.Clone(v))
	}
	return ""
}
