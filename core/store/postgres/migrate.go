package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/opengatewayprotocol/ogp/core"
)

// Nodes of two versions are at work on one database while the nodes are upgraded one after
// the other. So a file in migrations only adds: a gateway that does not know of it goes on.
// A file that takes something away comes with a new minor version, and raises head.least in
// the same transaction: who is of an older schema than that keeps nothing from then on.
// An index on a table that can be large is made CONCURRENTLY, in a file of its own.
//
// docs/scaling.md#upgrades
//
//go:embed migrations/*.sql
var embedded embed.FS

// migrations are the files of this binary.
func migrations() fs.FS {
	files, _ := fs.Sub(embedded, "migrations") // the name is a valid one
	return files
}

// schemaKey is where meta has the number of the last migration that the database has.
const schemaKey = "store.schema"

// lockTries is how often a migration is tried that could not have its locks within the
// time that it asks for, so that no message waits behind it for longer.
const lockTries = 30

// schemas are the migrations of this binary: the number of the last, and the oldest schema
// whose gateways can go on when a database with the schema from has had the others.
func schemas(files fs.FS, from int) (last, least int, err error) {
	names, err := fs.Glob(files, "*.sql")
	for _, name := range names { // in order
		number, _, _ := strings.Cut(name, "_")
		if last, err = strconv.Atoi(number); err != nil {
			return 0, 0, err
		}
		if last <= from {
			continue
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return 0, 0, err
		}
		if found := raises.FindSubmatch(text); found != nil {
			if least, err = strconv.Atoi(string(found[1])); err != nil {
				return 0, 0, err
			}
		}
	}
	return last, least, err
}

// raises is how a file says that older gateways cannot go on.
var raises = regexp.MustCompile(`UPDATE head SET least = (\d+)`)

// schema is the version that the database has, 0: none; and the oldest whose gateways may
// work on it.
func (s *Store) schema(ctx context.Context) (version, least int, err error) {
	var text []byte
	err = s.pool.QueryRow(ctx, `SELECT value FROM meta WHERE key = $1`, []byte(schemaKey)).Scan(&text)
	switch {
	case errors.Is(err, pgx.ErrNoRows), answered(err, "42P01"): // no such table
		return 0, 0, nil
	case err != nil:
		return 0, 0, err
	}
	if version, err = strconv.Atoi(string(text)); err != nil {
		return 0, 0, err
	}
	err = s.pool.QueryRow(ctx, `SELECT least FROM head`).Scan(&least)
	if answered(err, "42703") { // no such column: from before there was a least
		return version, version, nil
	}
	return version, least, err
}

// answered reports whether an error is the server's of a code.
func answered(err error, code string) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == code
}

// tooOld refuses a database that a later version has changed so that we cannot use it.
func (s *Store) tooOld(kind core.Kind, least int) error {
	return &core.Error{Kind: kind, RetryAfter: 2 * healEvery,
		Public: fmt.Sprintf("store: this ogp is too old for the database %s: it takes gateways of format %d and later, and this one has format %d", s.name, least, s.knows),
		Hint:   "a newer ogp has upgraded it: start that one here, too, or give the database back from a backup from before"}
}

// migrate brings the database up to date, unless a newer gateway has.
func (s *Store) migrate(ctx context.Context, files fs.FS) error {
	version, least, err := s.schema(ctx)
	if err != nil {
		return err
	}
	var raised int
	if s.knows, raised, err = schemas(files, version); err != nil {
		return err
	}
	switch {
	case least > s.knows:
		return s.tooOld(core.Unsupported, least)
	case version >= s.knows:
		return nil
	}
	if err := s.noneOlder(ctx, version, raised); err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(s.pool)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		err = s.alone(ctx, func() error { _, err := p.Up(ctx); return err })
		if !answered(err, "55P03") || try == lockTries { // a lock that it did not get in time
			break
		}
		time.Sleep(time.Second)
	}
	if err != nil {
		return fmt.Errorf("migrate from %d to %d: %w", version, s.knows, err)
	}
	// A newer gateway that starts at the same time may have gone further.
	_, err = s.pool.Exec(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value
		WHERE convert_from(meta.value, 'UTF8')::integer < $3`, []byte(schemaKey), []byte(strconv.Itoa(s.knows)), s.knows)
	return err
}

// noneOlder refuses to take something away from gateways that are at work with it.
func (s *Store) noneOlder(ctx context.Context, version, least int) error {
	if version == 0 || least == 0 {
		return nil
	}
	var node string
	err := s.pool.QueryRow(ctx, `SELECT id FROM nodes WHERE schema < $1 AND seen > now() - interval '10 seconds' ORDER BY id LIMIT 1`, least).Scan(&node)
	switch {
	case errors.Is(err, pgx.ErrNoRows), answered(err, "42703"):
		return nil
	case err != nil:
		return err
	}
	return &core.Error{Kind: core.Conflict,
		Public: fmt.Sprintf("store: the gateway %s uses the database %s, and is too old to use it once this one has upgraded it", node, s.name),
		Hint:   "upgrade all nodes to the last version before this minor version first, one after the other; or stop them all, and start this one"}
}
