package daemon

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// TestWhoWakesTheAgent: a notifier whose plugin.toml says that it tells a person runs no
// agent, under whatever name; any other does.
func TestWhoWakesTheAgent(t *testing.T) {
	shipped := func(name string) (wasm, manifest []byte, ok bool) {
		folder := filepath.Join("..", "..", "plugins", name)
		wasm, err := os.ReadFile(filepath.Join(folder, name+".wasm"))
		if err != nil {
			return nil, nil, false
		}
		manifest, err = os.ReadFile(filepath.Join(folder, "plugin.toml"))
		return wasm, manifest, err == nil
	}
	for text, want := range map[string]bool{
		`delivery.notifiers = ["log"]`:                                               false,
		`delivery.notifiers = ["ntfy"]`:                                              false,
		`delivery.notifiers = ["webhook"]`:                                           true,
		"delivery.notifiers = [\"phone\"]\n[plugins.phone]\nshipped = \"ntfy\"":      false,
		"delivery.notifiers = [\"hermes\"]\n[plugins.hermes]\nshipped = \"webhook\"": true,
	} {
		dir := filepath.Join(t.TempDir(), "home")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), Options{Dir: dir, Version: "test", Log: io.Discard, Shipped: shipped,
			Config: config.Options{Home: dir, Env: []string{"HOME=" + dir, "OGP_DAEMON_PORT=0", "OGP_LISTEN=127.0.0.1"}}})
		if err != nil {
			t.Fatal(text, err)
		}
		defer d.Close()
		if err := d.openHooks(t.Context()); err != nil {
			t.Fatal(text, err)
		}
		d.setNotifiers()
		if got := d.wakes.Load(); got != want {
			t.Errorf("%s: wakes the agent: %v, want %v", text, got, want)
		}
	}
}

// countingStore is a shared store that has counted a hundred runs for the number in a peer's
// key, or says nothing.
type countingStore struct {
	*memory.Store
	ill    error
	silent bool
	asked  int
}

func (s *countingStore) Health() error { return s.ill }

func (s *countingStore) Uses(ctx context.Context, k core.PublicKey, _ string, _ time.Time) (int, int64, error) {
	if s.asked++; s.silent {
		<-ctx.Done()
		return 0, 0, ctx.Err()
	}
	return 100 * int(k[0]), 0, nil
}

// TestStatusAcrossNodes: the status names the peers that have used the most, with what all nodes
// have counted of each, and waits once for a store that says nothing.
func TestStatusAcrossNodes(t *testing.T) {
	for name, c := range map[string]struct {
		store countingStore
		runs  bool // are all nodes'
		asked int
		takes time.Duration
	}{
		"the store says it":            {countingStore{}, true, mostShown, 0},
		"it says nothing":              {countingStore{silent: true}, false, 1, acrossWithin},
		"it says that it does nothing": {countingStore{silent: true, ill: core.Refuse(core.Unavailable, "away")}, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.store.Store = memory.NewShared()
				d := &Daemon{store: &c.store, brake: brake.New(brake.Options{Settings: func() brake.Settings { return brake.Settings{} }, Wakes: func() bool { return false }})}
				var err error
				if d.gateway, err = gateway.New(t.Context(), gateway.Options{Signer: keys.Generate(), Settings: ours.Defaults(), Store: memory.New()}); err != nil {
					t.Fatal(err)
				}
				defer d.gateway.Close()
				var all []*core.Peer
				for i := range byte(3 * mostShown) { // each has used more than those before
					p := &core.Peer{Key: core.PublicKey{i + 1}, URL: "http://x.example", Trust: core.Approved, RequestedAt: time.Unix(int64(i), 0), Granted: &core.Bundle{Scopes: []core.Grant{{Intent: "message", Enabled: true}}}}
					for range i + 1 {
						d.brake.Arrives(brake.Arrival{Peer: p.Key, Intent: "message"})
					}
					all = append(all, p)
				}
				if _, err := d.gateway.ImportPeers(t.Context(), all); err != nil {
					t.Fatal(err)
				}
				v, began := api.StatusView{Peers: map[string]int{}}, time.Now()
				d.statusOfPeers(t.Context(), &v)
				if took := time.Since(began); took != c.takes || c.store.asked != c.asked || len(v.Budgets) != mostShown {
					t.Fatalf("took %v and asked %d times for %d, want %v and %d for %d", took, c.store.asked, len(v.Budgets), c.takes, c.asked, mostShown)
				}
				for i, b := range v.Budgets {
					k, runs := 3*mostShown-i, 0
					if c.runs {
						runs = 100 * k
					}
					if b.Used.Messages != k || b.Used.Runs != runs {
						t.Errorf("%d: %+v, want %d messages and %d runs", i, b, k, runs)
					}
				}
			})
		})
	}
}
