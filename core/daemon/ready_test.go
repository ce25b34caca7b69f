package daemon

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// A gateway that says that it is ready does not turn the first message away because a
// policy is still being loaded.
func TestReadyWhenPoliciesAre(t *testing.T) {
	module, err := filepath.Abs(filepath.Join("..", "..", "examples", "plugins", "topic-allowlist", "topic-allowlist.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte("[plugins.topics]\npath = '"+module+"'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var d *Daemon
	policies := -1
	d, err = Open(ctx, Options{Dir: dir, Version: "test", Log: io.Discard, Shipped: shippedOpenClaw(t),
		Config: config.Options{Home: dir, Env: []string{"HOME=" + dir, "OGP_DAEMON_PORT=0", "OGP_LISTEN=127.0.0.1"}},
		Ready: func(api.StatusView, bool) {
			p, err := d.hooks.Plugins()
			if err != nil {
				t.Errorf("it is ready, and its policies are not: %v", err)
			}
			policies = len(p.Policies[core.HookMessage])
			stop()
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if policies != 1 {
		t.Errorf("%d policies judge messages, want 1", policies)
	}
}
