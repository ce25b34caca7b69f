package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/config"
)

// With a URL that is granted by hand go the secrets that the plugin may be given, also one
// that the operator has named elsewhere, as OpenClaw's.
func TestGrantsByHandLackNoSecret(t *testing.T) {
	dir := t.TempDir()
	config := config.Options{Home: dir, Env: []string{"HOME=" + dir}}
	text := "[plugins.openclaw.grants]\nhttp = [\"http://localhost:18789/hooks/\"]\nprivate = true\n"
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := configured(Options{Dir: dir, Shipped: shippedOpenClaw(t), Config: config})
	if err != nil {
		t.Fatal(err)
	}
	w, err := d.configured(openclawPlugin, d.config().Plugins[openclawPlugin], nil)
	if err != nil {
		t.Fatal(err)
	}
	if missing := w.Spec.Grants.Missing(w.Spec.Manifest.Asks()); len(missing) > 0 {
		t.Errorf("it lacks %q", missing)
	}
}
