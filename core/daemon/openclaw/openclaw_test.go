package openclaw

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/config"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A variable of OpenClaw's configuration is looked up where OpenClaw looks, and one that
// is missing is named, as is a file that cannot be read.
func TestToken(t *testing.T) {
	home := t.TempDir()
	env := []string{"HOME=" + home}
	c := &config.Config{}
	if token, from, err := Token(env, c); token != "" || from != "openclaw_token" || err != nil {
		t.Errorf("without OpenClaw: %q from %s, %v", token, from, err)
	}
	file := filepath.Join(home, ".openclaw", "openclaw.json")
	write(t, file, `{ hooks: { enabled: true, token: "${OC_HOOKS}", path: "/in" }, gateway: { port: 20001 } }`)
	if token, from, err := Token(env, c); err == nil || token != "" || from != file || !strings.Contains(err.Error(), "${OC_HOOKS}") || !strings.Contains(err.Error(), ".env") {
		t.Errorf("a variable that is set nowhere: %q from %s, %v", token, from, err)
	}
	before := Look(env, c)
	write(t, filepath.Join(home, ".openclaw", ".env"), "\ufeffexport OC_HOOKS=\"from the file\"\n# ours\nOC_HOOKS=second\n")
	if token, _, err := Token(env, c); err != nil || token != "from the file" {
		t.Errorf("from .env: %q, %v", token, err)
	}
	after := Look(env, c)
	if before == after || !after.Enabled || after.Path != "/in" || after.Port != 20001 {
		t.Errorf("Look = %+v, then %+v", before, after)
	}
	if token, _, err := Token(append(env, "OC_HOOKS=from the environment"), c); err != nil || token != "from the environment" {
		t.Errorf("from the environment: %q, %v", token, err)
	}
	write(t, file, `{ hooks: `)
	if token, _, err := Token(env, c); err == nil || token != "" || !strings.Contains(err.Error(), "openclaw.json") {
		t.Errorf("a file that does not parse: %q, %v", token, err)
	}
	if Look(env, c) == after {
		t.Error("a file that does not parse looks as before")
	}
}
