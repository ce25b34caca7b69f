package postgres

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3/lock"
)

// A pooler between us and the database may give each transaction another of the server's
// sessions. So nothing here outlives its transaction: statements are not prepared under a
// name, and nothing is locked by a session. (What LISTEN asks for may get lost; see news.go.)

// behindPooler has connections run statements so that a pooler can be in between, where one
// is. That is looked for once, with the first connection, and not where the connection string
// says with default_query_exec_mode how they are run.
func behindPooler(config *pgxpool.Config) {
	if strings.Contains(config.ConnString(), "default_query_exec_mode") {
		return
	}
	var known, pooled atomic.Bool
	config.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		if !known.Load() {
			found, err := findPooler(ctx, c.Copy())
			if err != nil {
				return err
			}
			pooled.Store(found)
			known.Store(true)
		}
		if pooled.Load() {
			c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		}
		return nil
	}
}

// findPooler reports whether the process that a connection is to, as it said itself at the
// beginning, is another than the one that runs its statements.
func findPooler(ctx context.Context, c *pgx.ConnConfig) (bool, error) {
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var pid uint32
	err = conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeExec).Scan(&pid)
	return pid != conn.PgConn().PID(), err
}

const (
	// aloneEvery is how often to ask whether a node that migrates has come to its end.
	aloneEvery = time.Second
	// aloneMost is how long to wait for that: it makes an index, perhaps.
	aloneMost = 10 * time.Minute
)

// errElsewhere says that another node migrates the database.
var errElsewhere = errors.New("another gateway is upgrading the database, and has not finished")

// alone runs work while no other node does. The lock is one of a transaction, which does
// nothing else and has no snapshot, so that no index that is made waits for it. It is that of
// goose's own sessions, which earlier versions take.
func (s *Store) alone(ctx context.Context, work func() error) error {
	for over := time.Now().Add(aloneMost); ; {
		err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
				return err
			}
			var ours bool
			// By the simple protocol: the portal of the other one stays open, with a snapshot.
			if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", pgx.QueryExecModeSimpleProtocol, lock.DefaultLockID).Scan(&ours); err != nil {
				return err
			}
			if !ours {
				return errElsewhere
			}
			return work()
		})
		if !errors.Is(err, errElsewhere) || time.Now().After(over) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(aloneEvery):
		}
	}
}
