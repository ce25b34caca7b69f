package ownkey

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// TestK4KeyInTheDatabase: a gateway that has no key file takes the key that another has
// put into their database, with its passphrase, and becomes nobody else without it.
func TestK4KeyInTheDatabase(t *testing.T) {
	db := memory.New()
	machine := func(passphrase string) Place {
		p := Place{Dir: t.TempDir(), Store: db}
		if err := os.Chmod(p.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		c.Store = config.NewSecret("postgres://db.example/ogp")
		p.Config = &c
		if passphrase != "" {
			p.Env = []string{"OGP_KEY_PASSPHRASE=" + passphrase}
		}
		return p
	}
	a := machine("")
	ours, err := a.Open(t.Context())
	if err != nil || !ours.First {
		t.Fatalf("the first start = %v, first %v, want a new key", err, ours.First)
	}
	if err := db.Commit(t.Context(), &core.Change{Meta: map[string]string{OwnerKey: ours.Public().String()}}); err != nil {
		t.Fatal(err)
	}
	b := machine("one")
	_, err = b.Open(t.Context())
	var e *core.Error
	if !errors.As(err, &e) || e.Kind != core.Conflict || !strings.Contains(e.Hint, "ogp key store") {
		t.Errorf("without a key anywhere = %v, want Conflict with what to do", err)
	}
	if _, err := os.Stat(b.file()); !errors.Is(err, os.ErrNotExist) {
		t.Error("it has made another key")
	}
	if _, err := a.StoreKey(t.Context(), ""); !errors.Is(err, core.Malformed) {
		t.Errorf("StoreKey without a passphrase = %v, want Malformed", err)
	}
	pass := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(pass, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sealed, err := a.StoreKey(t.Context(), pass)
	if err != nil {
		t.Fatal(err)
	}
	text, err := db.Meta(t.Context(), storedKey)
	if copied := machine("one"); os.WriteFile(copied.file(), []byte(sealed), 0o600) == nil && text == sealed {
		copied.Store = nil // the database is lost
		if own, err := copied.Open(t.Context()); err != nil || own.Public() != ours.Public() {
			t.Errorf("a key.json with what was sealed = %v, want the same key", err)
		}
	} else {
		t.Errorf("StoreKey = %q, want what the database has", sealed)
	}
	if err != nil || !strings.Contains(text, "sealed") || strings.Contains(text, "privateKey") {
		t.Fatalf("the database has %q, %v, want it sealed", text, err)
	}
	its, err := b.Open(t.Context())
	if err != nil || its.Public() != ours.Public() || its.Marks != ours.Marks || its.First {
		t.Errorf("with it = %v, want the same key and marks", err)
	}
	for _, passphrase := range []string{"", "other"} {
		if _, err := machine(passphrase).Open(t.Context()); err == nil {
			t.Errorf("a start with the passphrase %q went through", passphrase)
		}
	}
	if k, where, err := b.Find(t.Context()); err != nil || k != ours.Public() || where != "the database" {
		t.Errorf("Find = %v, %q, %v, want the key in the database", k, where, err)
	}
	// Sealed anew where there is no file, and an empty database is a first start.
	if err := os.WriteFile(pass, []byte("two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.StoreKey(t.Context(), pass); err != nil {
		t.Error(err)
	}
	if own, err := machine("two").Open(t.Context()); err != nil || own.Public() != ours.Public() {
		t.Errorf("with another passphrase = %v, want the same key", err)
	}
	db = memory.New()
	if own, err := machine("").Open(t.Context()); err != nil || !own.First {
		t.Errorf("an empty database = %v, first %v, want a new key", err, own.First)
	}
	if _, err := machine("").StoreKey(t.Context(), pass); err == nil {
		t.Error("StoreKey without a key went through")
	}
}
