package sqlite

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
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
