package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

func TestMain(m *testing.M) {
	plugin.CompileChildMain()
	os.Exit(m.Run())
}

// fullStore keeps nothing while it is full.
type fullStore struct {
	core.Store
	full atomic.Bool
}

func (s *fullStore) Commit(ctx context.Context, c *core.Change) error {
	if s.full.Load() {
		return core.Refuse(core.Full, "store: full")
	}
	return s.Store.Commit(ctx, c)
}

// installing is a daemon that installs plugins, and a folder with one that gives an answer.
func installing(t *testing.T) (d *Daemon, s *fullStore, params func(answer string) api.InstallParams) {
	t.Helper()
	d = pastDaemon(t)
	s = &fullStore{Store: d.store}
	d.store, d.o.Shipped = s, func(string) ([]byte, []byte, bool) { return nil, nil, false }
	var err error
	if d.hooks, err = hooks.New(hooks.Options{Store: s, CacheDir: filepath.Join(d.dir, CompileCache), Logger: d.log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.hooks.Close)
	return d, s, func(answer string) api.InstallParams {
		dir := t.TempDir()
		for name, text := range map[string]string{"p.wasm": answeringModule(answer), "plugin.toml": "name = \"p\"\n[kv]\nmax_bytes = 100\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		files, err := hooks.ReadFiles(dir)
		if err != nil {
			t.Fatal(err)
		}
		return api.InstallParams{Name: "p", Source: dir, Digest: files.Digest(), Grants: plugin.Grants{KV: []string{"get", "set"}}}
	}
}

// answeringModule is a module that gives one answer, of at most 63 bytes, to every request.
func answeringModule(answer string) string {
	name := func(s string) string { return string(rune(len(s))) + s }
	exports := "\x02" + name("memory") + "\x02\x00" + name("ogp_request") + "\x00\x01"
	return "\x00asm\x01\x00\x00\x00" + "\x01\x0b\x02\x60\x02\x7f\x7f\x00\x60\x01\x7f\x01\x7f" + "\x02\x10\x01\x06ogp_v1\x05write\x00\x00" +
		"\x03\x02\x01\x01" + "\x05\x03\x01\x00\x01" + "\x07" + name(exports) +
		"\x0a\x0c\x01\x0a\x00\x41\x00\x41" + string(rune(len(answer))) + "\x10\x00\x41\x00\x0b" +
		"\x0b" + string(rune(6+len(answer))) + "\x01\x00\x41\x00\x0b" + name(answer)
}

// An installation that fails leaves what was in force, on the disk and on record: the version
// before, or none.
func TestInstallThatFailsLeavesWhatWas(t *testing.T) {
	d, s, params := installing(t)
	says := func(want core.Decision) {
		t.Helper()
		p, err := d.hooks.Plugins()
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			if len(p.Policies[core.HookRequest]) != 0 {
				t.Error("a policy is in force, want none")
			}
			return
		}
		v, err := p.Policies[core.HookRequest][0].Decide(t.Context(), core.Question{Kind: core.HookRequest, Peer: &core.Peer{}, Request: &core.Request{}})
		if err != nil || v.Decision != want {
			t.Errorf("the policy in force says %q, %v, want %q", v.Decision, err, want)
		}
	}
	versions := func(want int) {
		t.Helper()
		if all, _ := filepath.Glob(filepath.Join(d.dir, "plugins", "p", "*")); len(all) != want {
			t.Errorf("%d versions on the disk, want %d: %v", len(all), want, all)
		}
		if all, err := hooks.ListInstalled(t.Context(), d.store); err != nil || len(all) != want {
			t.Errorf("%d on record, %v, want %d", len(all), err, want)
		}
	}
	fails := func(ctx context.Context, p api.InstallParams, kind core.Kind) {
		t.Helper()
		if _, err := d.installPlugin(ctx, p); !errors.Is(err, kind) {
			t.Errorf("installPlugin = %v, want %s", err, kind)
		}
	}
	s.full.Store(true)
	fails(t.Context(), params(`{"decision":"deny"}`), core.Full)
	says("")
	versions(0)
	s.full.Store(false)
	if _, err := d.installPlugin(t.Context(), params(`{"decision":"deny"}`)); err != nil {
		t.Fatal(err)
	}
	says(core.Deny)
	versions(1)
	s.full.Store(true)
	fails(t.Context(), params(`{"decision":"hold"}`), core.Full)
	says(core.Deny)
	s.full.Store(false)
	versions(1)
	broken := params(`{"decision":"hold"}`)
	broken.Digest = "another"
	fails(t.Context(), broken, core.Conflict)
	says(core.Deny)
	versions(1)
}

// A key that no plugin can read is refused, and nothing says that it was set.
func TestKeysOfAPluginsStore(t *testing.T) {
	d, _, params := installing(t)
	if _, err := d.installPlugin(t.Context(), params(`{"decision":"hold"}`)); err != nil {
		t.Fatal(err)
	}
	for key, ok := range map[string]bool{"": false, strings.Repeat("k", plugin.MaxKeyBytes): true, strings.Repeat("k", plugin.MaxKeyBytes+1): false} {
		for _, p := range []api.KVParams{{Plugin: "p", Key: key, Value: "v", Set: true}, {Plugin: "p", Key: key, Delete: true}} {
			if _, err := d.pluginKV(t.Context(), p); ok != (err == nil) || !ok && !errors.Is(err, core.Malformed) {
				t.Errorf("a key of %d bytes: %v, want taken %v", len(key), err, ok)
			}
		}
	}
	if got, err := d.pluginKV(t.Context(), api.KVParams{Plugin: "p"}); err != nil || len(got) != 0 {
		t.Errorf("kept %v, %v, want nothing", got, err)
	}
}
