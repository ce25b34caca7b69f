// Package sqlite keeps the gateway's state in one SQLite file, ogp.db in the state
// directory. A Store owns the directory: a second one, in this process or another,
// is refused (docs/threat-model.md#s2).
//
// One goroutine at a time writes. It takes all changes that wait, runs them in one
// transaction, writes that to disk once, and then answers all of them, so that
// many commits at the same time cost one fsync (docs/threat-model.md#s1). Readers have
// connections of their own and see a change as soon as its Commit has returned.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	_ "modernc.org/sqlite" // the driver

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/group"
)

const (
	// readers is how many queries run at the same time; more wait.
	readers = 4
	// busyTimeout bounds the wait for somebody else's lock, such as the sqlite3
	// shell's: the store itself never makes itself wait.
	busyTimeout = 5 * time.Second
)

// Store is a core.Store in a file. Safe for concurrent use.
type Store struct {
	group.Leases

	dir  string
	lock *flock.Flock

	write *sql.DB   // one connection, pinned by conn
	conn  *sql.Conn // the writer's
	stmts []driver.Stmt
	begin,
	commit,
	rollback func() error // of a transaction on conn

	index  index // of who has the queue's turn, and so are the next three
	unread error // the index is to be read again
	args   []driver.NamedValue
	values []driver.Value

	record *record     // beside the store; nil: not yet open
	lost   *core.Error // what Open has found missing

	read    *sql.DB
	queries [numQueries]*sql.Stmt
	floors  sync.Map // by notifier: see floor

	queue   *group.Queue[*request]
	closing sync.Once
	done    chan struct{} // closed when the writer has ended

	broken error  // of who has the queue's turn: set once a sync was lost
	looks  uint64 // the same: how often it looked whether the store is well again
	writer group.Writer
	bad    atomic.Bool
	healIn time.Duration // healEvery
}

var _ core.Store = (*Store)(nil)

// Open opens the store in the directory dir, making both where there is none, and
// brings an older file up to date. It returns an error of kind Conflict when
// another process has it open, and of kind Unavailable, with a hint what to do,
// when the file cannot be read. The caller closes the store.
func Open(ctx context.Context, dir string) (_ *Store, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{dir: dir, done: make(chan struct{}), healIn: healEvery}
	s.queue = group.New(maxBatch, s.keep)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, s.wrap("make the state directory", asUnavailable(err))
	}
	if err := s.acquire(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	path := filepath.Join(dir, file)
	if err := makeFile(path); err != nil {
		return nil, s.wrap("make "+path, asUnavailable(err))
	}
	if err := s.torn(path); err != nil {
		return nil, err
	}
	if err := s.openWriter(ctx); err != nil {
		return nil, s.wrap("open "+path, err)
	}
	if err := s.checkRecord(); err != nil {
		return nil, err
	}
	if s.read, err = open(path, "ro", "query_only(1)", "cache_size(-2000)", "temp_store(MEMORY)"); err != nil {
		return nil, s.wrap("open "+path, err)
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if err := s.openReaders(ctx); err != nil {
		return nil, s.wrap("open "+path, err)
	}
	if err := s.prepare(ctx); err != nil {
		return nil, s.wrap("open "+path, err)
	}
	go s.run()
	return s, nil
}

func open(path, mode string, pragmas ...string) (*sql.DB, error) {
	if err := registerHash(); err != nil {
		return nil, err
	}
	q := url.Values{"mode": {mode}, "_pragma": pragmas, "_error_rc": {"1"},
		"_busy_timeout": {fmt.Sprint(busyTimeout.Milliseconds())}}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String())
}

// openReaders opens all connections of the readers, and with each what it has open
// beside the file, so that none needs a descriptor when there is none left.
func (s *Store) openReaders(ctx context.Context) error {
	var conns []*sql.Conn
	defer func() {
		for _, c := range conns {
			c.Close() // back to the pool, and open
		}
	}()
	for range readers {
		c, err := s.read.Conn(ctx)
		if err != nil {
			return err
		}
		conns = append(conns, c)
		var n int
		if err := c.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) path() string { return filepath.Join(s.dir, file) }

// acquire takes the directory for this Store. The lock dies with the process.
func (s *Store) acquire() error {
	s.lock = flock.New(filepath.Join(s.dir, file+".lock"), flock.SetPermissions(0o600))
	ok, err := s.lock.TryLock()
	if err != nil {
		return s.wrap("lock "+s.dir, asUnavailable(err))
	}
	if !ok {
		return &core.Error{
			Kind:   core.Conflict,
			Public: "store: the state directory " + s.dir + " is in use by another ogp",
			Hint:   "stop that one first, or give this one a state directory of its own",
		}
	}
	return nil
}

// makeFile makes an empty database that nobody else can read. SQLite gives its
// companions the same mode.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return os.Chmod(path, 0o600)
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(path)), syncDir(filepath.Dir(filepath.Dir(path))))
}

// torn refuses an empty file beside a log that is not: SQLite would take it for a
// new one and throw the log away. A file that was made and never written has none.
func (s *Store) torn(path string) error {
	db, err := os.Stat(path)
	if err != nil {
		return s.wrap("open "+path, asUnavailable(err))
	}
	log, err := os.Stat(path + "-wal")
	if err != nil || db.Size() > 0 || log.Size() == 0 {
		return nil
	}
	return &core.Error{Kind: core.Unavailable, Public: "store: open " + path + ": the file is empty and its log is not", Hint: corruptHint(s.dir)}
}

// syncDir makes a new name in a directory survive a power loss. Windows has no
// such call.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func asUnavailable(err error) error {
	return &core.Error{Kind: core.Unavailable, Public: "store", Err: err, Hint: "look at the disk and the permissions of the state directory"}
}

// Close ends the store: changes that wait are still written, later ones get
// Unavailable. It returns when the file is closed and the directory is free. Only
// the first call does anything; the others wait for it.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		s.queue.Close()
		<-s.done
		err = s.release()
	})
	return err
}

func (s *Store) release() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	errs = append(errs, s.closeWriter())
	if s.record != nil {
		errs = append(errs, s.record.close())
	}
	errs = append(errs, s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("store: close %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) isClosed() bool { return s.queue.Closed() }
