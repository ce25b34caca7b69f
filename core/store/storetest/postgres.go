package storetest

import (
	"context"
	"errors"
	"fmt"
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
	if pooler := os.Getenv("OGP_TEST_POOLER"); pooler != "" { // which knows nothing of schemas
		name := made(t, at, "CREATE DATABASE %s", "DROP DATABASE %s WITH (FORCE)")
		return changed(t, pooler, func(u *url.URL) { u.Path = "/" + name })
	}
	name := made(t, at, "CREATE SCHEMA %s", "DROP SCHEMA %s CASCADE")
	return changed(t, at, func(u *url.URL) {
		q := u.Query()
		q.Set("search_path", name)
		u.RawQuery = q.Encode()
	})
}

// made is the name of something that lives as long as the test does.
func made(t testing.TB, at, create, drop string) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	name := "t_" + strings.ReplaceAll(time.Now().UTC().Format("150405.000000000"), ".", "_")
	if _, err := conn.Exec(ctx, fmt.Sprintf(create, name)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := conn.Exec(ctx, fmt.Sprintf(drop, name))
		if err := errors.Join(err, conn.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	return name
}

func changed(t testing.TB, at string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}
