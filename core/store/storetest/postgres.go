package storetest

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// HasPostgres reports whether there is a PostgreSQL to test with.
func HasPostgres() bool { return os.Getenv("OGP_TEST_POSTGRES") != "" }

// PostgresServer is a PostgreSQL in which the tests may make schemas.
func PostgresServer(t testing.TB) string {
	t.Helper()
	server := os.Getenv("OGP_TEST_POSTGRES")
	if server == "" {
		t.Skip("NOT RUN: OGP_TEST_POSTGRES names no PostgreSQL, such as postgres://user@localhost/database")
	}
	return server
}

// Postgres makes a schema of its own and returns the connection string for it.
func Postgres(t testing.TB) string {
	t.Helper()
	at := PostgresServer(t)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	name := "t_" + strings.ToLower(time.Now().UTC().Format("150405.000000000"))
	name = strings.ReplaceAll(name, ".", "_")
	if _, err := conn.Exec(ctx, "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := conn.Exec(ctx, "DROP SCHEMA "+name+" CASCADE")
		if err := errors.Join(err, conn.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}
