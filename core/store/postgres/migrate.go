package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/opengatewayprotocol/ogp/core"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaVersion is the number of the last file in migrations. It is kept in meta, too,
// so that opening a database that is up to date costs one read.
const schemaVersion = 4

const schemaKey = "store.schema"

// schema is the version that the database has; 0: none.
func (s *Store) schema(ctx context.Context) (int, error) {
	var text []byte
	err := s.pool.QueryRow(ctx, `SELECT value FROM meta WHERE key = $1`, []byte(schemaKey)).Scan(&text)
	var answered *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows), errors.As(err, &answered) && answered.Code == "42P01": // no such table
		return 0, nil
	case err != nil:
		return 0, err
	}
	return strconv.Atoi(string(text))
}

func (s *Store) migrate(ctx context.Context) error {
	version, err := s.schema(ctx)
	switch {
	case err != nil || version == schemaVersion:
		return err
	case version > schemaVersion:
		return &core.Error{
			Kind:   core.Unsupported,
			Public: fmt.Sprintf("store: the database %s has format %d, this ogp knows up to %d", s.name, version, schemaVersion),
			Hint:   "a newer ogp has written it: use that one, or a backup from before",
		}
	}
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(s.pool)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, sub, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()), goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate from %d to %d: %w", version, schemaVersion, err)
	}
	_, err = s.pool.Exec(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
		[]byte(schemaKey), []byte(strconv.Itoa(schemaVersion)))
	return err
}
