package meter_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

// TestVersion finds a change of what the package makes of a module, for which kept modules are no longer good.
func TestVersion(t *testing.T) {
	files, _ := filepath.Glob("*.go")
	sum := sha256.New()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write([]byte(strings.ReplaceAll(string(text), `"`+meter.Version+`"`, "")))
	}
	if got := hex.EncodeToString(sum.Sum(nil))[:16]; got != meter.Version {
		t.Errorf("the sources were changed: write Version = %q", got)
	}
}

// TestOutline has the outline of every module be one that is valid, with the same imports, exports and functions.
func TestOutline(t *testing.T) {
	rt := interpreter(t)
	for _, wasm := range seeds(t) {
		m, err := meter.Rewrite(wasm, meter.Config{})
		if err != nil {
			t.Fatal(err)
		}
		whole, err := rt.CompileModule(t.Context(), m.Wasm)
		if err != nil { // one of the specification's wrong ones
			continue
		}
		outline, err := rt.CompileModule(t.Context(), meter.Outline(m.Wasm))
		if err != nil {
			t.Errorf("%.40x...: %v", wasm, err)
			continue
		}
		if a, b := whole.ImportedFunctions(), outline.ImportedFunctions(); len(a) != len(b) {
			t.Errorf("%d imports, then %d", len(a), len(b))
		}
		for name, f := range whole.ExportedFunctions() {
			if o := outline.ExportedFunctions()[name]; o == nil || o.Index() != f.Index() || o.Name() != f.Name() || string(o.ParamTypes()) != string(f.ParamTypes()) {
				t.Errorf("the export %q: %+v, then %+v", name, f, o)
			}
		}
	}
}
