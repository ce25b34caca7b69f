// Package postgres keeps the gateway's state in a PostgreSQL database, so that the
// gateway outlives its machine.
//
// One goroutine of a node at a time writes. It takes all changes that wait, judges them, and
// keeps them in one transaction, so that many commits at the same time cost one write
// to disk (docs/threat-model.md#s1). The transaction locks the row of head, so that the
// nodes that share a database commit one after the other: what a change was judged by
// still stands when it is kept, and the order of the log is the order of the commits.
//
// So several nodes commit side by side. What one of them holds in memory is a hint: each
// change names what it rests on (core.Change), and is judged in the transaction itself.
package postgres

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/group"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
	"github.com/opengatewayprotocol/ogp/core/window"
)

const (
	// maxConns bounds the connections of one node.
	maxConns = 8
	// maxBatch bounds the changes that share one transaction.
	maxBatch = 512
	// healEvery is how long the writer waits, while nothing can be kept, until it looks
	// whether that is over.
	healEvery = 2 * time.Second
	// silence is how long the network to the database may say nothing while something waits.
	silence = 10 * time.Second
	// beatTime bounds what others wait for: what a node says of itself, and whether there is
	// news. readTime bounds each other read.
	beatTime = 4 * time.Second
	readTime = 30 * time.Second
	// writeTime bounds one transaction of the writer.
	writeTime = 30 * time.Second
	// illTime bounds it while nothing can be kept.
	illTime = 8 * time.Second
	// idleMost is how long the database lets a node that has begun a commit say nothing: then
	// it ends the transaction, so that the others need not wait for one that was stopped, or
	// whose machine is gone, in the middle of it.
	idleMost = 5 * time.Second
	// connectTime bounds the first connection.
	connectTime = 10 * time.Second
)

// reader reads a database.
type reader struct {
	pool  *pgxpool.Pool
	name  string // of the database, without a secret
	queue *group.Queue[*request]
}

// Store is a core.Store in a database. Safe for concurrent use.
type Store struct {
	reader

	closing sync.Once
	done    chan struct{} // closed when the writer has ended

	node     string   // what we are called among others
	knows    int      // the number of our last migration
	warnings []string // of the server's settings
	ensure   bool     // the server's synchronous_commit does not wait for its disk: ours does

	windows window.Windows         // of what limits count; of who has the queue's turn, as counted is
	counted map[window.Key]counted // what windows has

	news      chan struct{} // holds a value when there may be some
	deaf      context.CancelFunc
	listening chan struct{} // closed when nobody listens any more

	writer group.Writer
}

var (
	_ core.Store  = (*Store)(nil)
	_ core.Shared = (*Store)(nil)
)

// Open opens the store in the database of a connection string, such as
// "postgres://user:password@host/database?sslmode=verify-full", makes its tables, or
// brings older ones up to date. The error is of kind Unavailable when the database cannot
// be reached. The caller closes the store.
func Open(ctx context.Context, url string) (_ *Store, err error) {
	config, err := configOf(url)
	if err != nil {
		return nil, err
	}
	s := &Store{done: make(chan struct{}), counted: map[window.Key]counted{}, news: make(chan struct{}, 1), listening: make(chan struct{})}
	if s.reader, err = connect(ctx, config, s.keep); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.pool.Close()
		}
	}()
	if err := s.migrate(ctx, migrations()); err != nil {
		return nil, s.wrap("open", err)
	}
	if err := s.makeDays(ctx, time.Now()); err != nil {
		return nil, s.wrap("open", err)
	}
	var level, fsync string
	if err := s.pool.QueryRow(ctx, "SELECT current_setting('synchronous_commit'), current_setting('fsync')").Scan(&level, &fsync); err != nil {
		return nil, s.wrap("open", err)
	}
	if s.ensure = level == "off"; s.ensure {
		s.warnings = append(s.warnings, "the database has synchronous_commit = off: the gateway's own transactions wait for its disk all the same; switch it on for others that write there")
	}
	if fsync == "off" {
		s.warnings = append(s.warnings, "the database has fsync = off: messages that were acknowledged are lost when its machine fails; switch it on")
	}
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	s.node = host + "-" + rand.Text()[:8]
	go s.run()
	var listening context.Context
	listening, s.deaf = context.WithCancel(context.Background())
	go s.listen(listening, config.ConnConfig.Copy())
	return s, nil
}

// connect makes the connections to a database, as they are needed. keep is what writes to it.
func connect(ctx context.Context, config *pgxpool.Config, keep func([]*request)) (r reader, err error) {
	r = reader{name: config.ConnConfig.Database + " at " + config.ConnConfig.Host, queue: group.New(maxBatch, keep)}
	r.pool, err = pgxpool.NewWithConfig(ctx, config)
	return r, r.wrap("open", err)
}

// configOf reads a connection string.
func configOf(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// Its text has the whole string, password and all.
		return nil, &core.Error{Kind: core.Malformed, Public: "store: the connection string cannot be read",
			Hint: `write it like "postgres://user:password@host:5432/database?sslmode=verify-full"`}
	}
	config.MaxConns, config.PingTimeout = maxConns, beatTime/2
	// A network that says nothing any more is noticed, whether something waits on it or not.
	config.ConnConfig.DialFunc = (&net.Dialer{Control: giveUp, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: silence / 2, Interval: silence / 4, Count: 2}}).DialContext
	config.ConnConfig.ConnectTimeout = min(connectTime, either(config.ConnConfig.ConnectTimeout > 0, config.ConnConfig.ConnectTimeout, connectTime))
	if _, named := config.ConnConfig.RuntimeParams["application_name"]; !named {
		config.ConnConfig.RuntimeParams["application_name"] = "ogp"
	}
	behindPooler(config)
	return config, nil
}

func either[T any](cond bool, yes, no T) T {
	if cond {
		return yes
	}
	return no
}

// Close ends the store: changes that wait are still written, and later ones get
// Unavailable. Only the first call does anything; the others wait for it.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.queue.Close()
		<-s.done
		s.deaf()
		<-s.listening
		s.pool.Close()
	})
	return nil
}

// Health is nil while changes can be kept, and otherwise why they cannot.
func (s *Store) Health() error {
	if s.queue.Closed() {
		return rows.ErrClosed
	}
	if e := s.writer.Ill(); e != nil {
		return e
	}
	return nil
}

// Warnings says which of the server's settings put at risk what is acknowledged.
func (s *Store) Warnings() []string { return s.warnings }

// Lost is nil: what the database has acknowledged is its own promise.
func (s *Store) Lost() error { return nil }

// Stats returns what this node's writer has done so far.
func (s *Store) Stats() core.StoreStats {
	st := s.writer.Stats()
	st.Waiting = s.queue.Len()
	return st
}

// Check asks the database for what the writer needs. Damage is for the database itself to
// find.
func (s *Store) Check(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	var seq int64
	return s.wrap("check", s.pool.QueryRow(ctx, "SELECT seq FROM head").Scan(&seq))
}

// Size returns the bytes that the database takes, with all that is in it.
func (s *Store) Size() (n int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTime)
	defer cancel()
	err = s.pool.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&n)
	return n, s.wrap("size", err)
}
