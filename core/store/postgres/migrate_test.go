package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// with are the migrations of this binary, and one of a version to come.
func with(t *testing.T, number int, text string) fs.FS {
	t.Helper()
	all := fstest.MapFS{}
	names, err := fs.Glob(migrations(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(migrations(), name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = &fstest.MapFile{Data: data}
	}
	all[fmt.Sprintf("%05d_next.sql", number)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	return all
}

func opened(t *testing.T, at string) *Store {
	t.Helper()
	s, err := Open(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// receipt is of a message that came at a time.
func receipt(n int, at time.Time) *core.Receipt {
	return &core.Receipt{Peer: core.PublicKey{31: 1}, Nonce: core.Nonce(fmt.Sprint("nonce-", n)), At: at, Intent: "message", Status: 200, Answer: []byte("{}")}
}

// A gateway goes on beside a newer one that has only added something, and starts again on
// its database. Once something was taken away, it keeps nothing more and says why; and a
// newer one takes nothing away while it is at work.
func TestSideBySide(t *testing.T) {
	ctx, at := t.Context(), storetest.Postgres(t)
	older := opened(t, at)
	if _, err := older.Beat(ctx, core.PublicKey{}, "{}"); err != nil {
		t.Fatal(err)
	}
	newer := opened(t, at)
	ours := older.knows
	if err := newer.migrate(ctx, with(t, ours+1, "ALTER TABLE peers ADD COLUMN colour text NOT NULL DEFAULT 'grey';")); err != nil {
		t.Fatal(err)
	}
	if version, least, err := newer.schema(ctx); version != ours+1 || least > ours || newer.knows != ours+1 || err != nil {
		t.Fatalf("schema = %d, %d, %v, want %d, for gateways of %d", version, least, err, ours+1, ours)
	}
	for _, s := range []*Store{older, opened(t, at), newer} {
		if err := s.Commit(ctx, &core.Change{Peers: []*core.Peer{{Key: core.PublicKey{31: byte(s.knows)}}}}); err != nil {
			t.Errorf("Commit of a gateway of schema %d = %v, want nil", s.knows, err)
		}
	}
	if version, _, err := older.schema(ctx); version != ours+1 || err != nil {
		t.Errorf("after an older gateway has started the schema is %d, %v, want %d", version, err, ours+1)
	}

	takes := with(t, ours+2, fmt.Sprintf("ALTER TABLE peers DROP COLUMN colour; UPDATE head SET least = %d;", ours+1))
	takes.(fstest.MapFS)[fmt.Sprintf("%05d_next.sql", ours+1)] = &fstest.MapFile{Data: []byte("-- +goose Up\nSELECT 1;")}
	err := newer.migrate(ctx, takes)
	if !errors.Is(err, core.Conflict) || !strings.Contains(err.Error(), older.node) {
		t.Fatalf("taking something away beside a gateway that is at work = %v, want Conflict that names it", err)
	}
	if err := older.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	if err := newer.migrate(ctx, takes); err != nil {
		t.Fatal(err)
	}
	if err := newer.Commit(ctx, &core.Change{Meta: map[string]string{"a": "1"}}); err != nil {
		t.Errorf("Commit of the newer one = %v, want nil", err)
	}
	const words = "too old"
	if _, err := older.Beat(ctx, core.PublicKey{}, "{}"); !errors.Is(err, core.Unavailable) || older.Health() == nil {
		t.Errorf("the older one, which nobody asks anything: %v and Health nil, want Unavailable, and not healthy", err)
	}
	if err := older.Commit(ctx, &core.Change{Meta: map[string]string{"a": "2"}}); !errors.Is(err, core.Unavailable) || !strings.Contains(err.Error(), words) {
		t.Errorf("Commit of the older one = %v, want Unavailable: it is %s", err, words)
	}
	if err := older.Health(); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("Health of the older one = %v, want that it is %s", err, words)
	}
	if _, err := Open(ctx, at); !errors.Is(err, core.Unsupported) || !strings.Contains(err.Error(), words) {
		t.Errorf("Open of the older one = %v, want Unsupported: it is %s", err, words)
	}
}

// A migration that cannot have its lock at once waits for it without anybody waiting behind
// it for long.
func TestMigrationWaits(t *testing.T) {
	ctx, at := t.Context(), storetest.Postgres(t)
	s := opened(t, at)
	reader, err := s.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(ctx, "SELECT FROM peers"); err != nil {
		t.Fatal(err)
	}
	newer := opened(t, at)
	done := make(chan error, 1)
	go func() {
		done <- newer.migrate(ctx, with(t, s.knows+1, "SET LOCAL lock_timeout = '200ms'; ALTER TABLE peers ADD COLUMN colour text NOT NULL DEFAULT 'grey';"))
	}()
	var longest time.Duration
	for over := time.Now().Add(1500 * time.Millisecond); time.Now().Before(over); time.Sleep(20 * time.Millisecond) {
		start := time.Now()
		if err := s.Commit(ctx, &core.Change{Peers: []*core.Peer{{Key: core.PublicKey{31: 1}}}}); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(start))
	}
	if longest > time.Second {
		t.Errorf("a commit waited %v for a migration", longest)
	}
	if err := reader.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("migrate = %v, want nil once the reader has ended", err)
	}
}

// An index that is made beside other work waits for all who have a snapshot: who holds the
// lock of migrations has none.
func TestIndexBesideWork(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	s := opened(t, storetest.Postgres(t))
	if err := s.migrate(ctx, with(t, s.knows+1, "-- +goose NO TRANSACTION\nCREATE INDEX CONCURRENTLY log_by_id ON log (id, seq);")); err != nil {
		t.Fatalf("migrate = %v, want nil", err)
	}
	var ready bool
	if err := s.pool.QueryRow(ctx, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'log_by_id'::regclass").Scan(&ready); err != nil || !ready {
		t.Errorf("the index is ready: %v, %v", ready, err)
	}
}

// What a version adds beside an older one only adds: docs/scaling.md#upgrades.
func TestMigrationsExpand(t *testing.T) {
	names, err := fs.Glob(migrations(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	takes := regexp.MustCompile(`(?i)DROP (TABLE|COLUMN)|RENAME COLUMN|ALTER COLUMN|SET NOT NULL`)
	index := regexp.MustCompile(`(?i)CREATE (UNIQUE )?INDEX (\S+)`)
	for _, name := range names[4:] { // those before are from when there was no second node
		data, err := fs.ReadFile(migrations(), name)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		if found := takes.FindString(text); found != "" && !raises.MatchString(text) {
			t.Errorf("%s has %q, and gateways of the version before are at work: raise head.least, in a new minor version", name, found)
		}
		for _, found := range index.FindAllStringSubmatch(text, -1) {
			if !strings.EqualFold(found[2], "CONCURRENTLY") && name != "00006_receipts_by_day.sql" { // those are of an empty table
				t.Errorf("%s makes an index while the table is locked: %q", name, found[0])
			}
		}
		if strings.Contains(text, "CONCURRENTLY") && (!strings.Contains(text, "+goose NO TRANSACTION") || !strings.Contains(text, "DROP INDEX CONCURRENTLY IF EXISTS")) {
			t.Errorf("%s: an index that is made CONCURRENTLY has no transaction, and one that was cut short is dropped first", name)
		}
	}
}

// receiptsOf says how many receipts each part has.
func receiptsOf(t *testing.T, s *Store) map[string]int {
	t.Helper()
	found, err := s.pool.Query(t.Context(), `SELECT tableoid::regclass::text, count(*) FROM receipts GROUP BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	if err := each(found, func() error {
		var name string
		var n int
		err := found.Scan(&name, &n)
		out[name] = n
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// Receipts from before there were days stay where they are, and go when they have had
// their time; what an older gateway writes meanwhile is kept, and no nonce is taken twice.
func TestDaysOfBefore(t *testing.T) {
	ctx, at := t.Context(), storetest.Postgres(t)
	config, err := configOf(at)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may be in between
	db := stdlib.OpenDB(*config.ConnConfig)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations(), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, 5); err != nil {
		t.Fatal(err)
	}
	const put = `INSERT INTO receipts (peer, nonce, at, intent, bytes, status, digest, answer, place) VALUES ($1, $2, $3, 'message', 0, 200, '\x', '{}', 1)`
	write := func(r *core.Receipt) error {
		_, err := db.ExecContext(ctx, put, r.Peer[:], []byte(r.Nonce), rows.Nanos(r.At))
		return err
	}
	now := time.Now()
	for n := range 50 {
		if err := write(receipt(n, now.Add(-time.Duration(n)*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ('store.schema', '5')`); err != nil {
		t.Fatal(err)
	}
	var wrote atomic.Int64
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { // an older gateway at work
		for n := 1000; ; n++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := write(receipt(n, time.Now())); err != nil {
				stopped <- err
				return
			}
			wrote.Add(1)
		}
	}()
	time.Sleep(50 * time.Millisecond)
	s := opened(t, at)
	time.Sleep(50 * time.Millisecond)
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatalf("the older gateway: %v", err)
	}
	if got := receiptsOf(t, s); got["receipts_before"] != 50+int(wrote.Load()) || len(got) != 1 {
		t.Errorf("the parts have %v, want 50 and %d in receipts_before", got, wrote.Load())
	}
	if err := s.Commit(ctx, &core.Change{Receipt: receipt(7, now)}); !errors.Is(err, core.Replayed) {
		t.Errorf("a nonce from before = %v, want Replayed", err)
	}
	later := now.Add(5 * 24 * time.Hour)
	if err := s.makeDays(ctx, later); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, &core.Change{Receipt: receipt(8, later)}); !errors.Is(err, core.Replayed) {
		t.Errorf("a nonce from before, days later = %v, want Replayed", err)
	}
	if err := s.Commit(ctx, &core.Change{Receipt: receipt(100, later)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(ctx, core.Cutoffs{Receipts: now.Add(-25 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if got, day := receiptsOf(t, s), dayName(later.UnixNano()/dayNanos); got["receipts_before"] != 26+int(wrote.Load()) || got[day] != 1 {
		t.Errorf("the parts have %v, want the first 26 and %d in receipts_before, and 1 in %s", got, wrote.Load(), day)
	}
	if err := s.Prune(ctx, core.Cutoffs{Receipts: later}); err != nil {
		t.Fatal(err)
	}
	parts := 0
	if err := s.pool.QueryRow(ctx, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'receipts'::regclass AND inhrelid::regclass::text = 'receipts_before'`).Scan(&parts); err != nil || parts != 0 {
		t.Errorf("receipts_before is there %d times, %v, want it dropped", parts, err)
	}
}

// A nonce is taken once, also over midnight and where a day has no part of its own; a day is
// dropped as a whole, and not before its last receipt has had its time.
func TestDays(t *testing.T) {
	ctx, at := t.Context(), storetest.Postgres(t)
	s, other := opened(t, at), opened(t, at)
	midnight := time.Unix(0, (time.Now().UnixNano()/dayNanos+1)*dayNanos)
	far := midnight.Add(20 * 24 * time.Hour) // nobody has made a part for it
	for n, times := range [][2]time.Time{{midnight.Add(-1), midnight}, {midnight, midnight.Add(-1)}, {far, far.Add(time.Hour)}, {midnight.Add(-time.Hour), far}, {midnight.Add(-48 * time.Hour), midnight}} {
		results := make(chan error, 4)
		for i, by := range []*Store{s, other, s, other} {
			go func() { results <- by.Commit(ctx, &core.Change{Receipt: receipt(n, times[i/2])}) }()
		}
		kept := 0
		for range 4 {
			if err := <-results; err == nil {
				kept++
			} else if !errors.Is(err, core.Replayed) {
				t.Error(err)
			}
		}
		if kept != 1 {
			t.Errorf("a nonce at %v and %v was taken %d times, want once", times[0], times[1], kept)
		}
	}
	today, tomorrow := dayName(midnight.UnixNano()/dayNanos-1), dayName(midnight.UnixNano()/dayNanos)
	if err := s.Commit(ctx, &core.Change{Receipt: receipt(100, midnight.Add(-1))}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, &core.Change{Receipt: receipt(101, midnight)}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		cutoff time.Time
		today  bool
	}{{midnight.Add(-1), true}, {midnight, false}} {
		if err := s.Prune(ctx, core.Cutoffs{Receipts: step.cutoff}); err != nil {
			t.Fatal(err)
		}
		if got := receiptsOf(t, s); (got[today] > 0) != step.today || got[tomorrow] == 0 {
			t.Errorf("forgotten before %v the parts have %v, want today's: %v, and tomorrow's", step.cutoff, got, step.today)
		}
	}
	// A day whose receipts are in receipts_other stays there.
	if err := other.makeDays(ctx, far); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, &core.Change{Receipt: receipt(102, far)}); err != nil {
		t.Errorf("Commit of a day that is in receipts_other = %v, want nil", err)
	}
}

// A node that is stopped in the middle of a commit holds up the others for seconds, and keeps
// nothing when it goes on.
func TestStoppedWithinCommit(t *testing.T) {
	ctx, at := t.Context(), storetest.Postgres(t)
	stopped, other := opened(t, at), opened(t, at)
	conn, err := stopped.pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	k := newKept(nil, &stopped.windows)
	if err := stopped.look(ctx, conn, k); err != nil { // and says nothing more
		t.Fatal(err)
	}
	if err := other.Commit(ctx, &core.Change{Receipt: receipt(1, time.Now())}); err != nil {
		t.Errorf("the other node's commit = %v, want nil", err)
	}
	if _, err := conn.Exec(ctx, "COMMIT"); err == nil {
		t.Error("the transaction of the one that was stopped still stands")
	}
	if err := stopped.Commit(ctx, &core.Change{Receipt: receipt(2, time.Now())}); err != nil {
		t.Errorf("the next commit of the one that goes on = %v, want nil", err)
	}
}
