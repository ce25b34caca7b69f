package keys_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// TestK4SealedText: a key in a place that others can read is sealed, and bent it is none.
func TestK4SealedText(t *testing.T) {
	pass := func(p string) keys.Passphrase { return func() (string, error) { return p, nil } }
	k := keys.Generate()
	text, err := keys.SealedText(k, pass("correct horse"))
	if err != nil || strings.Contains(text, "privateKey") {
		t.Fatalf("SealedText = %s, %v, want it sealed", text, err)
	}
	got, err := keys.FromSealedText("the database", text, pass("correct horse"))
	if err != nil || !got.Equal(k) {
		t.Fatalf("FromSealedText = %v, want the key", err)
	}
	if _, err := keys.SealedText(k, nil); err == nil {
		t.Error("SealedText without a passphrase went through")
	}
	path := filepath.Join(t.TempDir(), "key.json")
	if err := keys.Save(path, k, nil); err != nil {
		t.Fatal(err)
	}
	plain, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		text string
		pass keys.Passphrase
		want core.Kind
	}{
		"another passphrase": {text, pass("other"), core.Forbidden},
		"another key":        {strings.Replace(text, k.Public().String(), keys.Generate().Public().String(), 1), pass("correct horse"), core.Forbidden},
		"plain":              {string(plain), pass("correct horse"), core.Malformed},
		"cut":                {text[:len(text)-9], pass("correct horse"), core.Malformed},
		"costly":             {strings.Replace(text, `"n": 32768`, `"n": 1073741824`, 1), pass("correct horse"), core.Malformed},
		"long":               {strings.Repeat(" ", 1<<20), pass("correct horse"), core.TooLarge},
	} {
		if _, err := keys.FromSealedText("the database", c.text, c.pass); !errors.Is(err, c.want) || !strings.Contains(err.Error(), "the database") {
			t.Errorf("%s: %v, want %s that names the database", what, err, c.want)
		}
	}
}
