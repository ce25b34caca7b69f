package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/postgres"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// server is a PostgreSQL in which the tests may make schemas.
func server(t testing.TB) string {
	t.Helper()
	server := os.Getenv("OGP_TEST_POSTGRES")
	if server == "" {
		t.Skip("NOT RUN: OGP_TEST_POSTGRES names no PostgreSQL, such as postgres://user@localhost/database")
	}
	return server
}

// empty makes a schema of its own and returns the connection string for it.
func empty(t testing.TB) string {
	t.Helper()
	at := server(t)
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

func open(t testing.TB, at string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	server(t)
	where := map[core.Store]string{}
	storetest.Run(t, func(t *testing.T) core.Store {
		at := empty(t)
		s := open(t, at)
		where[s] = at
		return s
	}, func(t *testing.T, s core.Store) core.Store {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return open(t, where[s])
	})
}
