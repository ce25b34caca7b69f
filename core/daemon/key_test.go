package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// TestK4KeyInTheDatabase: a gateway that has no key file takes the key that another has
// put into their database, with its passphrase, and becomes nobody else without it.
func TestK4KeyInTheDatabase(t *testing.T) {
	db := memory.New()
	machine := func(passphrase string) *Daemon {
		d := &Daemon{dir: t.TempDir(), store: db}
		if err := os.Chmod(d.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		c.Store = config.NewSecret("postgres://db.example/ogp")
		if passphrase != "" {
			d.o.Config.Env = []string{"OGP_KEY_PASSPHRASE=" + passphrase}
		}
		d.current.Store(&loadedConfig{Config: &c})
		return d
	}
	key := func(d *Daemon) error { return d.openKey(t.Context()) }
	file := func(d *Daemon) string { return filepath.Join(d.dir, KeyFile) }

	a := machine("")
	if err := key(a); err != nil || !a.first {
		t.Fatalf("the first start = %v, first %v, want a new key", err, a.first)
	}
	if err := a.claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := machine("one")
	if err := key(b); !errors.Is(err, core.Conflict) || !strings.Contains(api.ErrorOf(err).Hint, "ogp key store") {
		t.Errorf("without a key anywhere = %v, want Conflict with what to do", err)
	}
	if _, err := os.Stat(file(b)); !errors.Is(err, os.ErrNotExist) {
		t.Error("it has made another key")
	}
	if _, err := a.storeKey(t.Context(), api.StoreKeyParams{}); !errors.Is(err, core.Malformed) {
		t.Errorf("storeKey without a passphrase = %v, want Malformed", err)
	}
	pass := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.storeKey(t.Context(), api.StoreKeyParams{PassphraseFile: pass}); err != nil {
		t.Fatal(err)
	}
	text, err := db.Meta(t.Context(), storedKey)
	if err != nil || !strings.Contains(text, "sealed") || strings.Contains(text, "privateKey") {
		t.Fatalf("the database has %q, %v, want it sealed", text, err)
	}
	if err := key(b); err != nil || b.key.Public() != a.key.Public() || b.marks != a.marks || b.first {
		t.Errorf("with it = %v, want the same key and marks", err)
	}
	if err := b.claim(t.Context()); err != nil {
		t.Error(err)
	}
	for _, passphrase := range []string{"", "other"} {
		if err := key(machine(passphrase)); err == nil {
			t.Errorf("a start with the passphrase %q went through", passphrase)
		}
	}
	// Whoever writes in the database can make nobody else of us.
	other, err := keys.SealedText(keys.Generate(), func() (string, error) { return "one", nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(t.Context(), &core.Change{Meta: map[string]string{storedKey: other}}); err != nil {
		t.Fatal(err)
	}
	c := machine("one")
	if err := key(c); err == nil {
		err = c.claim(t.Context())
		if !errors.Is(err, core.Conflict) {
			t.Errorf("with another key in the database = %v, want Conflict", err)
		}
	}
}
