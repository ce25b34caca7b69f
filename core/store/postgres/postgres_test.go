package postgres_test

import (
	"context"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/postgres"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

func open(t testing.TB, at string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// besides opens the store as one more node.
func besides(t testing.TB, at string) *postgres.Store {
	t.Helper()
	s, err := postgres.OpenBeside(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.PostgresServer(t)
	where := map[core.Store]string{}
	storetest.Run(t, func(t *testing.T) core.Store {
		at := storetest.Postgres(t)
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
