package plugin_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// entries gives the entries of a cache, and what else is in it.
func entries(t testing.TB, dir string) (all, others []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if len(e.Name()) == 64 {
			all = append(all, filepath.Join(dir, e.Name()))
		} else {
			others = append(others, e.Name())
		}
	}
	return all, others
}

// code gives the file of machine code in an entry.
func code(t testing.TB, entry string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(entry, "*", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("machine code in %s: %v (%v), want one file", entry, found, err)
	}
	return found[0]
}

// TestD3DamagedCache has a damaged, a missing and a foreign entry told of once and compiled again.
func TestD3DamagedCache(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine after the other: the race detector makes it slow and sees nothing")
	}
	dir := filepath.Join(t.TempDir(), "cache")
	wasm := read(t, guests+"policy.wasm")
	use := func() string {
		t.Helper()
		var log sink
		h, err := plugin.NewHost(plugin.Options{CacheDir: dir, Logger: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		p := load(t, h, plugin.Spec{Bytes: wasm})
		if got := call(t, p, plugin.Message, `{}`); got != `{"decision":"abstain"}` {
			t.Errorf("answer = %s", got)
		}
		all, others := entries(t, dir)
		if len(all) != 1 || len(others) != 0 {
			t.Errorf("the cache holds %v and %v, want one entry", all, others)
		}
		return log.String()
	}
	if said := use(); said != "" {
		t.Errorf("a first load says %s", said)
	}
	if said := use(); said != "" {
		t.Errorf("a second load says %s", said)
	}
	all, _ := entries(t, dir)
	entry := all[0]
	file, sum := code(t, entry), filepath.Join(entry, "sum")
	good, outline := read(t, file), read(t, filepath.Join(entry, "outline.wasm"))

	// What another module came to, with a sum that holds.
	other := filepath.Join(t.TempDir(), "cache")
	h, err := plugin.NewHost(plugin.Options{CacheDir: other})
	if err != nil {
		t.Fatal(err)
	}
	load(t, h, plugin.Spec{Bytes: guest(answering)})
	h.Close()
	others, _ := entries(t, other)

	write := func(file string, b []byte) {
		t.Helper()
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(){
		"a flipped bit":       func() { b := bytes.Clone(good); b[len(b)/2] ^= 1; write(file, b) },
		"a flipped length":    func() { b := bytes.Clone(good); b[20] ^= 0x40; write(file, b) },
		"half a file":         func() { write(file, good[:len(good)/2]) },
		"nothing in it":       func() { write(file, nil) },
		"a flipped outline":   func() { b := bytes.Clone(outline); b[len(b)/2] ^= 1; write(filepath.Join(entry, "outline.wasm"), b) },
		"no outline":          func() { os.Remove(filepath.Join(entry, "outline.wasm")) },
		"no file":             func() { os.Remove(file) },
		"no sum":              func() { os.Remove(sum) },
		"another sum":         func() { write(sum, []byte(strings.Repeat("0", 64)+"  x\n")) },
		"a second file":       func() { write(filepath.Join(filepath.Dir(file), strings.Repeat("0", 64)), good) },
		"a file for an entry": func() { os.RemoveAll(entry); write(entry, good) },
		"another module's": func() {
			os.RemoveAll(entry)
			if err := os.CopyFS(entry, os.DirFS(others[0])); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			damage()
			if said := use(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "level=WARN") || !strings.Contains(said, "compiled again") || !strings.Contains(said, "plugin=guest") {
				t.Errorf("said %q, want one warning", said)
			}
			if said := use(); said != "" {
				t.Errorf("said it again: %q", said)
			}
		})
	}
}

// TestD3NoSpace has a module loaded that cannot be kept.
func TestD3NoSpace(t *testing.T) {
	dir, elsewhere := filepath.Join(t.TempDir(), "cache"), t.TempDir()
	t.Setenv("TMPDIR", elsewhere)
	var log sink
	h, err := plugin.NewHost(plugin.Options{CacheDir: dir, Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // nothing can be made below it
		t.Fatal(err)
	}
	for range 2 {
		call(t, load(t, h, plugin.Spec{Bytes: guest(answering)}), plugin.Message, `{}`)
	}
	if said := log.String(); !strings.Contains(said, "a compiled module is not kept") {
		t.Errorf("said %q, want that it is not kept", said)
	}
	if left, _ := os.ReadDir(elsewhere); len(left) != 0 {
		t.Errorf("left %v behind", left)
	}
}
