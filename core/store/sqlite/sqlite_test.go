package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) core.Store { return openTest(t, t.TempDir()) },
		func(t *testing.T, s core.Store) core.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return openTest(t, s.(*Store).dir)
		})
}

// accept is the change that accepting the n-th message leaves behind.
func accept(n int) *core.Change {
	now := time.Now()
	id := fmt.Sprintf("01JNXYZ%019d", n)
	nonce := core.Nonce(fmt.Sprintf("%08x-1c6e-4b0e-9f4e-%012x", uint32(n)*2654435761, n))
	peer := core.PublicKey{byte(n % 16), 1}
	return &core.Change{
		Receipt: &core.Receipt{Peer: peer, Nonce: nonce, At: now, Intent: core.IntentMessage, Status: 200,
			Answer: []byte(`{"success":true,"nonce":"` + string(nonce) + `","response":{"received":true}}`)},
		Inbox: []*core.InboxMessage{{ID: id, Peer: peer, At: now, Status: core.InboxNew,
			Message: core.Message{Intent: core.IntentMessage, From: "302a300506032b6570032100aabbccdd", To: "302a300506032b6570032100eeff0011",
				Nonce: nonce, Timestamp: core.FormatTime(now), ReplyTo: "https://gateway.example/federation/reply",
				Payload: core.Raw(`{"message":"Could you look at the draft of the report and say what is missing?"}`)}}},
		Deliveries: []*core.Delivery{{EventID: id, Notifier: "openclaw", Created: now}},
	}
}

// holds reports whether all of accept(n) is kept, and fails when a part is.
func holds(t *testing.T, s *Store, n int) bool {
	t.Helper()
	c := accept(n)
	_, receipt := s.Receipt(t.Context(), c.Receipt.Peer, c.Receipt.Nonce)
	_, message := s.InboxMessage(t.Context(), c.Inbox[0].ID)
	if (receipt == nil) != (message == nil) {
		t.Errorf("change %d is kept by half: envelope %v, message %v", n, receipt, message)
	}
	for _, err := range []error{receipt, message} {
		if err != nil && !errors.Is(err, core.NotFound) {
			t.Fatal(err)
		}
	}
	return receipt == nil
}

func mustCommit(t *testing.T, s *Store, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := s.Commit(t.Context(), accept(n)); err != nil {
			t.Fatalf("Commit %d = %v, want nil", n, err)
		}
	}
}

func compiled(t testing.TB, c *core.Change) *request {
	t.Helper()
	r := &request{}
	if err := r.compile(c); err != nil {
		t.Fatal(err)
	}
	return r
}

func want(t *testing.T, err error, kind core.Kind) *core.Error {
	t.Helper()
	var e *core.Error
	if !errors.Is(err, kind) || !errors.As(err, &e) {
		t.Fatalf("error = %v, want %v", err, kind)
	}
	return e
}

func TestL6OnceWithinOneBatch(t *testing.T) {
	s := openTest(t, t.TempDir())
	other := accept(1)
	other.Inbox[0].ID = "other"
	other.Deliveries = nil
	a, b, c := compiled(t, accept(1)), compiled(t, other), compiled(t, accept(2))
	s.queue.Together(a, b, c)
	if a.Err != nil || c.Err != nil {
		t.Errorf("errors = %v and %v, want nil", a.Err, c.Err)
	}
	want(t, b.Err, core.Replayed)
	if _, err := s.InboxMessage(t.Context(), "other"); !errors.Is(err, core.NotFound) {
		t.Errorf("InboxMessage of the refused change = %v, want NotFound", err)
	}
	if st := s.Stats(); st.Batches != 1 || st.LastBatch != 3 || st.Commits != 2 || st.Refused != 0 || st.Waiting != 0 || st.LastCommit <= 0 || st.TotalCommit != st.LastCommit {
		t.Errorf("Stats = %+v, want one batch of three, two of them kept, and nothing that the disk refused", st)
	}
}

func TestS1OneBadChangeCostsOnlyItself(t *testing.T) {
	s := openTest(t, t.TempDir())
	bad := compiled(t, accept(2))
	bad.rows[0].rest[0] = []byte("no text")
	again := accept(1)
	a, c, d := compiled(t, accept(1)), compiled(t, accept(3)), compiled(t, again)
	s.queue.Together(a, bad, c, d)
	if a.Err != nil || c.Err != nil {
		t.Errorf("errors = %v and %v, want nil", a.Err, c.Err)
	}
	want(t, bad.Err, core.Internal)
	want(t, d.Err, core.Replayed)
	for n, kept := range map[int]bool{1: true, 2: false, 3: true} {
		if got := holds(t, s, n); got != kept {
			t.Errorf("change %d is kept: %v, want %v", n, got, kept)
		}
	}
}

func TestS1BatchesAreBounded(t *testing.T) {
	s := openTest(t, t.TempDir())
	var all []*request
	for n := range 2*maxBatch + 5 {
		all = append(all, compiled(t, accept(n)))
	}
	s.queue.Together(all...)
	for n, r := range all {
		if r.Err != nil {
			t.Fatalf("Commit %d = %v, want nil", n, r.Err)
		}
	}
	if st := s.Stats(); st.Batches != 3 || st.LastBatch != 5 {
		t.Errorf("Stats = %+v, want three batches, the last of 5", st)
	}
}

// A batch whose callers have all left does not keep the next one waiting.
func TestCallersWhoLeft(t *testing.T) {
	s := openTest(t, t.TempDir())
	var all []*request
	for n := range maxBatch {
		r := compiled(t, accept(n))
		r.Leave()
		all = append(all, r)
	}
	last := compiled(t, accept(maxBatch))
	s.queue.Together(append(all, last)...)
	if last.Err != nil || !holds(t, s, maxBatch) || holds(t, s, 0) {
		t.Errorf("error = %v, want the last change to be kept and no other", last.Err)
	}
}

// pragma sets one on the writer's connection, while nothing is written.
func pragma(t testing.TB, s *Store, text string) {
	t.Helper()
	if err := s.conn.Raw(func(c any) error {
		_, err := c.(driver.ExecerContext).ExecContext(t.Context(), "PRAGMA "+text, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestS1DiskFull(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	mustCommit(t, s, 0, 20)
	var pages int
	if err := s.read.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	s.healIn = 50 * time.Millisecond
	pragma(t, s, fmt.Sprintf("max_page_count = %d", pages+1))
	big := accept(21)
	big.Inbox[0].Message.Payload = core.Raw(strings.Repeat(" ", 100_000) + "{}")
	e := want(t, s.Commit(t.Context(), big), core.Full)
	if e.Err == nil || !strings.Contains(e.Hint, dir) {
		t.Errorf("error = %+v, want its cause, and a hint that names %s", e, dir)
	}
	// In one batch with small ones, it alone is refused.
	a, b, c := compiled(t, accept(20)), compiled(t, big), compiled(t, &core.Change{Meta: map[string]string{"a": "b"}})
	s.queue.Together(a, b, c)
	want(t, b.Err, core.Full)
	if c.Err != nil || a.Err != nil {
		t.Errorf("small changes = %v and %v, want nil", a.Err, c.Err)
	}
	last := 20
	for { // until nothing fits any more
		if err := s.Commit(t.Context(), accept(1000+last)); err != nil {
			want(t, err, core.Full)
			break
		}
		last++
	}
	check := func(s *Store) {
		t.Helper()
		if holds(t, s, 21) || holds(t, s, 1000+last) {
			t.Error("a refused change is kept")
		}
		if !holds(t, s, 20) {
			t.Error("an acknowledged change is lost")
		}
		d, err := s.Depths(t.Context(), 0)
		if err != nil || d.Inbox != d.Receipts || d.Inbox != d.Deliveries || d.Inbox != 21+last-20 {
			t.Errorf("Depths = %+v, %v, want %d of each", d, err, 21+last-20)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	check(s)
	if err := s.Commit(t.Context(), big); err != nil { // there is space again
		t.Errorf("Commit = %v, want nil", err)
	}
}

type syncFailed struct{}

func (syncFailed) Error() string { return "fsync: input/output error" }
func (syncFailed) Code() int     { return sqlite3.SQLITE_IOERR_FSYNC }

type diskFull struct{}

func (diskFull) Error() string { return "write: no space left on device" }
func (diskFull) Code() int     { return sqlite3.SQLITE_FULL }

// The way back is found by a change that is written: SQLite writes nothing where a row says
// the same as before, and a disk that takes nothing would pass for well.
func TestS1TheWayBackIsWritten(t *testing.T) {
	s := openTest(t, t.TempDir())
	s.healIn = 50 * time.Millisecond
	var full atomic.Bool
	commit := s.commit
	s.commit = func() error {
		if full.Load() {
			return diskFull{}
		}
		return commit()
	}
	mustCommit(t, s, 0, 1)
	other, err := s.read.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	version := func() (v int) {
		t.Helper()
		if err := other.QueryRowContext(t.Context(), "PRAGMA data_version").Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for n := range 2 { // also when it has looked before
		full.Store(true)
		a := compiled(t, accept(1+n))
		s.queue.Together(a)
		want(t, a.Err, core.Full)
		was := version()
		full.Store(false)
		wellAgain(t, s)
		if version() == was {
			t.Error("the store is well again, and nothing was written to see so")
		}
	}
}

// A disk with room for a few pages is full: who looks whether it is over does not take
// it for well, only to turn the next messages away.
func TestS1FewPagesAreNoWayBack(t *testing.T) {
	s := openTest(t, t.TempDir())
	s.healIn = 10 * time.Millisecond
	mustCommit(t, s, 0, 1)
	var pages int
	if err := s.read.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	pragma(t, s, fmt.Sprintf("max_page_count = %d", pages+10))
	var room atomic.Bool // comes with the writer's next look: the connection is its own
	begin := s.begin
	s.begin = func() error {
		if room.Swap(false) {
			pragma(t, s, fmt.Sprintf("max_page_count = %d", pages+10_000))
		}
		return begin()
	}
	big := accept(2)
	big.Inbox[0].Message.Payload = core.Raw(strings.Repeat(" ", 100_000) + "{}")
	want(t, s.Commit(t.Context(), big), core.Full)
	for range 20 {
		if time.Sleep(10 * time.Millisecond); s.Health() == nil {
			t.Fatal("the store is well again with room for 10 pages")
		}
	}
	room.Store(true)
	wellAgain(t, s)
	if err := s.Commit(t.Context(), big); err != nil {
		t.Error(err)
	}
	looked, err := s.Meta(t.Context(), lookedKey)
	if err != nil || len(looked) > 100 {
		t.Errorf("what it looked with takes %d bytes, %v", len(looked), err)
	}
}

func TestS1NothingIsKeptAfterALostSync(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	s.healIn = 3 * time.Second // and until then it is ill
	mustCommit(t, s, 0, 3)
	commit := s.commit
	s.commit = func() error { return syncFailed{} }
	a, b := compiled(t, accept(3)), compiled(t, accept(4))
	s.queue.Together(a, b)
	for _, r := range []*request{a, b} {
		if e := want(t, r.Err, core.Unavailable); !errors.Is(e, syncFailed{}) {
			t.Errorf("error = %v, want the cause in it", e)
		}
	}
	s.commit = commit // the disk says it is well again
	if e := want(t, s.Commit(t.Context(), accept(5)), core.Unavailable); e.Hint == "" {
		t.Error("no hint, want one that says what to do")
	}
	if !s.Stats().Broken {
		t.Error("Stats say that nothing is broken")
	}
	if !holds(t, s, 2) || holds(t, s, 3) {
		t.Error("reading goes wrong after a lost sync")
	}
	want(t, s.Health(), core.Unavailable)
	// It finds the way back by itself, and keeps what comes then.
	wellAgain(t, s)
	if s.Stats().Broken || holds(t, s, 3) || holds(t, s, 5) {
		t.Error("after the way back something is there that was refused")
	}
	mustCommit(t, s, 6, 9)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	if !holds(t, s, 8) || s.Lost() != nil {
		t.Errorf("after the way back a change is lost: %v", s.Lost())
	}
	mustCommit(t, s, 3, 6)
}

// wellAgain waits until a store can keep changes again, without trying any.
func wellAgain(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); s.Health() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("Health = %v after 60 seconds, want nil", s.Health())
		}
	}
}

func TestS2OneOwner(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	_, err := Open(t.Context(), dir)
	e := want(t, err, core.Conflict)
	if !strings.Contains(e.Error(), dir) || e.Hint == "" {
		t.Errorf("error = %v, hint %q, want the directory and a hint", e, e.Hint)
	}
	mustCommit(t, s, 0, 1) // the first is unharmed
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	if !holds(t, s, 0) {
		t.Error("the change is lost")
	}
}

func TestS1SomebodyElseLocksTheFile(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	mustCommit(t, s, 0, 1)
	pragma(t, s, "busy_timeout = 20")
	other, err := open(filepath.Join(dir, file), "rw")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	a, b := compiled(t, accept(1)), compiled(t, accept(2))
	s.queue.Together(a, b)
	want(t, a.Err, core.Unavailable)
	want(t, b.Err, core.Unavailable)
	if !holds(t, s, 0) || holds(t, s, 1) {
		t.Error("reading goes wrong while the file is locked")
	}
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, 1, 3)
}

func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := filepath.Join(t.TempDir(), "a", "state with ? and # and %41")
	s := openTest(t, dir)
	mustCommit(t, s, 0, 3)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("%s has mode %v, want 0700", dir, info.Mode())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", entry.Name(), info.Mode())
		}
	}
	if got := strings.Join(names, " "); got != "ogp.db ogp.db-shm ogp.db-wal ogp.db.last ogp.db.lock" {
		t.Errorf("files: %s", got)
	}
	// One that was opened up is closed again.
	s.Close()
	if err := os.Chmod(filepath.Join(dir, file), 0o644); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir)
	if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestDurableSettings(t *testing.T) {
	s := openTest(t, t.TempDir())
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		if err := s.conn.Raw(func(c any) error {
			rows, err := c.(driver.QueryerContext).QueryContext(t.Context(), "PRAGMA "+name, nil)
			if err != nil {
				return err
			}
			defer rows.Close()
			row := make([]driver.Value, 1)
			err = rows.Next(row)
			got = fmt.Sprint(row[0])
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	if _, err := s.read.Exec("DELETE FROM log"); err == nil {
		t.Error("a reader may write")
	}
}

func TestMigrations(t *testing.T) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(files) != schemaVersion {
		t.Fatalf("%d migrations, %v, want schemaVersion = %d", len(files), err, schemaVersion)
	}
	dir := t.TempDir()
	s := openTest(t, dir)
	mustCommit(t, s, 0, 1)
	pragma(t, s, "user_version = 0") // as if the power failed just before it was set
	s.Close()
	s = openTest(t, dir)
	if !holds(t, s, 0) {
		t.Error("the change is lost")
	}
	pragma(t, s, fmt.Sprintf("user_version = %d", schemaVersion+1))
	s.Close()
	_, err = Open(t.Context(), dir)
	if e := want(t, err, core.Unsupported); e.Hint == "" {
		t.Error("no hint")
	}
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	mustCommit(t, s, 0, 300)
	s.Close()
	whole, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, len(whole))
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for name, data := range map[string][]byte{
		"noise":           noise,
		"text":            []byte(strings.Repeat("not a database\n", 1000)),
		"half":            whole[:len(whole)/2],
		"torn page":       whole[:4096*3+100],
		"one page":        whole[:4096],
		"short":           whole[:100],
		"schema is noise": append(append(append([]byte{}, whole[:100]...), noise[100:4096]...), whole[4096:]...),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, file)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the failed one lets go of the directory
				_, err := Open(t.Context(), dir)
				e := want(t, err, core.Unavailable)
				if !strings.Contains(e.Error(), path) || !strings.Contains(e.Hint, "backup") || !strings.Contains(e.Hint, path) {
					t.Errorf("error = %v, hint %q, want the file and what to do", e, e.Hint)
				}
				if sqliteCode.MatchString(e.Error()) || strings.Count(e.Error(), "malformed") > 1 {
					t.Errorf("error = %v, want no code, and nothing twice", e)
				}
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != string(data) {
				t.Errorf("the damaged file was changed (%v)", err)
			}
		})
	}
	t.Run("empty beside a log", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, file)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.WriteFile(path+"-wal", noise[:5000], 0o600)); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), dir)
		want(t, err, core.Unavailable)
		if info, err := os.Stat(path + "-wal"); err != nil || info.Size() != 5000 {
			t.Errorf("the log was touched (%v)", err)
		}
	})
	t.Run("a page inside", func(t *testing.T) {
		dir := t.TempDir()
		data := append([]byte{}, whole...)
		for page := len(data) / 8192; page < len(data)/8192+4; page++ {
			copy(data[page*4096:][:4096], noise)
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openTest(t, dir)
		if e := want(t, s.Check(t.Context()), core.Unavailable); !strings.Contains(e.Hint, "backup") {
			t.Errorf("hint = %q, want what to do", e.Hint)
		}
	})
	t.Run("inside rows", func(t *testing.T) {
		s := openTest(t, t.TempDir())
		c := accept(1)
		c.Events = []*core.Event{{ID: "01JNXYZ9", At: time.Now(), Type: core.EventWarning}}
		c.Peers = []*core.Peer{{Key: c.Receipt.Peer}}
		c.Inbox[0].Reply = &core.Reply{}
		c.Outbox = []*core.OutboxItem{{ID: "o", Peer: c.Receipt.Peer, Kind: core.OutMessage, State: core.OutWaiting}}
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		db, err := open(s.path(), "rw")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, q := range []string{"UPDATE peers SET data = char(27) || data", "UPDATE log SET reply = 'x' WHERE reply <> ''",
			"UPDATE log SET data = x'00' WHERE id = '01JNXYZ9'", "UPDATE outbox SET data = '{\"id\":7}'"} {
			if r, err := db.Exec(q); err != nil {
				t.Fatal(err)
			} else if n, _ := r.RowsAffected(); n != 1 {
				t.Fatalf("%s: %d rows, want 1", q, n)
			}
		}
		_, peers := s.Peers(t.Context())
		_, inbox := s.InboxMessage(t.Context(), c.Inbox[0].ID)
		_, event := s.Events(t.Context(), "", 10)
		_, outbox := s.OutboxItem(t.Context(), "o")
		for name, err := range map[string]error{"peers": peers, "inbox": inbox, "event": event, "outbox": outbox} {
			if e := want(t, err, core.Unavailable); !strings.Contains(e.Hint, "restore") || !strings.HasSuffix(e.Error(), "a row is damaged") {
				t.Errorf("%s: %v, hint %q, want no parser's words and what to do", name, e, e.Hint)
			}
		}
	})
	t.Run("a file where the directory should be", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), path)
		want(t, err, core.Unavailable)
	})
}

// TestS1TornLog cuts the log where a power failure could: every change is there
// whole or not at all, and those before the cut are there.
func TestS1TornLog(t *testing.T) {
	const changes = 60
	dir := t.TempDir()
	s := openTest(t, dir)
	ends := make([]int64, changes) // of the log, once a change was acknowledged
	for n := range changes {
		mustCommit(t, s, n, n+1)
		info, err := os.Stat(filepath.Join(dir, file+"-wal"))
		if err != nil {
			t.Fatal(err)
		}
		ends[n] = info.Size()
	}
	db, err1 := os.ReadFile(filepath.Join(dir, file))
	log, err2 := os.ReadFile(filepath.Join(dir, file+"-wal"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		first := ends[0] // what came before is the schema
		cut := first + rand.Int64N(int64(len(log))-first)
		torn := append(append([]byte{}, log[:cut]...), make([]byte, rand.IntN(9000))...) // blocks that never came are zero
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, file), db, 0o600), os.WriteFile(filepath.Join(dir, file+"-wal"), torn, 0o600)); err != nil {
			t.Fatal(err)
		}
		s := openTest(t, dir)
		for n := range changes {
			if kept := holds(t, s, n); kept != (ends[n] <= cut) {
				t.Errorf("cut at %d: change %d, acknowledged at %d, is kept: %v", cut, n, ends[n], kept)
			}
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		mustCommit(t, s, 1000, 1001)
		s.Close()
	}
}

func TestBackup(t *testing.T) {
	s := openTest(t, t.TempDir())
	mustCommit(t, s, 0, 50)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // it goes on meanwhile
		for n := 50; ctx.Err() == nil; n++ {
			if err := s.Commit(t.Context(), accept(n)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	into := filepath.Join(t.TempDir(), "it's a copy?")
	if err := os.Mkdir(into, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(into, file)
	err := s.Backup(t.Context(), path)
	stop()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	want(t, s.Backup(t.Context(), path), core.Conflict)
	want(t, s.Backup(t.Context(), filepath.Join(into, "no", "such")), core.Unavailable)
	if err := s.Backup(ctx, filepath.Join(into, "other")); !errors.Is(err, context.Canceled) {
		t.Errorf("Backup with an ended context = %v, want Canceled", err)
	}
	if entries, err := os.ReadDir(into); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v are there, want the copy alone", entries, err)
	}

	copied := openTest(t, into)
	if err := copied.Check(t.Context()); err != nil {
		t.Error(err)
	}
	d, err := copied.Depths(t.Context(), 0)
	if err != nil || d.Inbox < 50 || d.Inbox != d.Receipts || d.Inbox != d.Deliveries {
		t.Errorf("Depths = %+v, %v, want at least 50 of each, and as many", d, err)
	}
	if !holds(t, copied, 49) {
		t.Error("the copy lacks a change from before")
	}
}

func TestMaintenance(t *testing.T) {
	s := openTest(t, t.TempDir())
	before, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, 0, 100)
	after, err := s.Size()
	if err != nil || after <= before || before == 0 {
		t.Errorf("Size = %d, then %d, %v, want it to grow", before, after, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check = %v, want nil", err)
	}
	s.Close()
	want(t, s.Check(t.Context()), core.Unavailable)
	want(t, s.Backup(t.Context(), filepath.Join(t.TempDir(), "x")), core.Unavailable)
}

func TestTimes(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(0, 1), time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)), rows.MinTime, rows.MaxTime} {
		if got := rows.FromNanos(rows.Nanos(at)); !got.Equal(at) {
			t.Errorf("%v comes back as %v", at, got)
		}
	}
	if got := rows.FromNanos(rows.Nanos(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))); !got.Equal(rows.MaxTime) {
		t.Errorf("the year 9999 comes back as %v, want %v", got, rows.MaxTime)
	}
	if got := rows.FromNanos(rows.Nanos(time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC))); !got.Equal(rows.MinTime) {
		t.Errorf("the year 1 comes back as %v, want %v", got, rows.MinTime)
	}
}
