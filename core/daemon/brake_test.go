package daemon

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/config"
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
