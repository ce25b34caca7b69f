package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/store"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// A state is copied into a database and back; what cannot be is refused before anything is
// written.
func TestCopyStore(t *testing.T) {
	dir := t.TempDir()
	options := func(at string) config.Options {
		text := ""
		if at != "" {
			text = "store = \"" + at + "\"\n"
		}
		path := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Options{Home: dir, Env: []string{"HOME=" + dir}}
	}
	refused := func(at, where string, kind core.Kind) {
		t.Helper()
		var e *core.Error
		if _, err := daemon.CopyStore(t.Context(), dir, options(at), where, nil); !errors.As(err, &e) || e.Kind != kind {
			t.Errorf("from %q to %q: %v, want %s", at, where, err, kind)
		}
	}
	refused("", "postgres://u@127.0.0.1:1/db", core.NotFound) // there is no gateway
	if _, err := keys.Create(filepath.Join(dir, daemon.KeyFile), nil); err != nil {
		t.Fatal(err)
	}
	refused("", "sqlite", core.Conflict)
	refused("", "mysql://u@127.0.0.1/db", core.Unsupported)
	refused("", "postgres://u@127.0.0.1:1/db", core.Unavailable)
	refused("postgres://u@127.0.0.1:1/db", "postgres://u@127.0.0.1:1/other", core.Unsupported)
	held, err := store.Open(t.Context(), "", dir)
	if err != nil {
		t.Fatal(err)
	}
	refused("", "postgres://u@127.0.0.1:1/db", core.Conflict) // the gateway runs
	if err := held.Commit(t.Context(), &core.Change{Peers: []*core.Peer{{Key: core.PublicKey{1}, Alias: "bob", Revision: 1, Trust: core.Approved}}}); err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}

	if !storetest.HasPostgres() {
		t.Log("NOT RUN against a PostgreSQL: OGP_TEST_POSTGRES names none")
		return
	}
	at := storetest.Postgres(t)
	if n, err := daemon.CopyStore(t.Context(), dir, options(""), at, nil); err != nil || n.Peers != 1 {
		t.Fatalf("into the database: %+v, %v, want one peer", n, err)
	}
	if n, err := daemon.CopyStore(t.Context(), dir, options(""), at, nil); err != nil || n.Peers != 1 || !n.Before {
		t.Fatalf("once more: %+v, %v, want that both are equal", n, err)
	}
	if err := os.Remove(filepath.Join(dir, daemon.StoreFile)); err != nil {
		t.Fatal(err)
	}
	if n, err := daemon.CopyStore(t.Context(), dir, options(at), "sqlite", nil); err != nil || n.Peers != 1 {
		t.Errorf("and back: %+v, %v, want one peer", n, err)
	}
}
