package scaffold_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/scaffold"
	"github.com/opengatewayprotocol/ogp/sdk/sdktest"
)

// hooksOf are the hooks that a language can answer.
func hooksOf(lang string) []string {
	if lang == "rego" {
		return []string{"message", "request"}
	}
	return scaffold.Hooks
}

// Every language and hook: the project is complete, names nothing unfilled, and is a
// manifest that the host takes.
func TestEveryProjectIsComplete(t *testing.T) {
	for _, lang := range scaffold.Langs {
		for _, hook := range hooksOf(lang) {
			dir := filepath.Join(t.TempDir(), "new")
			if err := scaffold.Write(dir, "my-plugin", lang, hook); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(dir, "plugin.toml"))
			if err != nil {
				t.Fatal(err)
			}
			if m, err := plugin.ParseManifest(text); err != nil || m.Name != "my-plugin" || len(m.Hooks) != 1 || string(m.Hooks[0]) != hook {
				t.Errorf("%s %s: manifest %v", lang, hook, err)
			}
			for _, file := range []string{"Makefile", "README.md", "cases/first.json"} {
				if st, err := os.Stat(filepath.Join(dir, file)); err != nil || st.Size() == 0 {
					t.Errorf("%s %s: no %s", lang, hook, file)
				}
			}
			if err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				text, err := os.ReadFile(name)
				for _, unfilled := range []string{"@NAME@", "@HOOK@", "@CRATE@", "@ABI@", "@WHAT@", "@INTENTS@", "@POWERS@", "@SDK@"} {
					if strings.Contains(string(text), unfilled) && !strings.HasSuffix(name, "scaffold.go") {
						t.Errorf("%s %s: %s holds %s", lang, hook, name, unfilled)
					}
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, name, lang, hook, want string }{
		{full, "a", "go", "message", "is not empty"},
		{"", "A b", "go", "message", `name "A b"`},
		{"", "../a", "go", "message", `name "../a"`},
		{"", "a", "cobol", "message", `language "cobol": want one of go, rust`},
		{"", "a", "rego", "notify", `hook "notify" in Rego: want message or request`},
		{"", "a", "go", "vote", `hook "vote": want one of message, request, notify, handle`},
	} {
		if c.dir == "" {
			c.dir = filepath.Join(t.TempDir(), "new")
		}
		if err := scaffold.Write(c.dir, c.name, c.lang, c.hook); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Write(%s, %s, %s) = %v, want %q", c.name, c.lang, c.hook, err, c.want)
		}
	}
	if entries, _ := os.ReadDir(full); len(entries) != 1 {
		t.Errorf("%d files in a folder that was refused, want 1", len(entries))
	}
}

// offline is an environment without a network for go.
func offline(extra ...string) []string {
	return append(append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local"), extra...)
}

func run(t *testing.T, dir string, env []string, name string, arg ...string) string {
	t.Helper()
	cmd := exec.Command(name, arg...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arg, " "), err, out)
	}
	return string(out)
}

// A Go project builds without a network, its own test passes, and the host runs its module:
// that of the first hook, since compiling takes seconds and the packages are the same.
func TestGoProjectsBuildAndRun(t *testing.T) {
	for _, lang := range []string{"go", "stdio-go"} {
		hooks := scaffold.Hooks
		if testing.Short() {
			hooks = hooks[:1]
		}
		for _, hook := range hooks {
			t.Run(lang+" "+hook, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "new")
				if err := scaffold.Write(dir, "my-plugin", lang, hook); err != nil {
					t.Fatal(err)
				}
				build(t, dir, lang)
				if lang == "go" {
					run(t, dir, offline(), "go", "test", ".")
				}
				if hook == scaffold.Hooks[0] || hook == scaffold.Hooks[1] {
					onHost(t, dir, hook)
				} else if lang == "stdio-go" {
					natively(t, dir)
				}
			})
		}
	}
}

// natively runs a program's first case.
func natively(t *testing.T, dir string) {
	t.Helper()
	c := firstCase(t, dir)
	run(t, dir, offline(), "go", "build", "-o", "native", ".")
	cmd := exec.Command(filepath.Join(dir, "native"))
	cmd.Stdin = strings.NewReader(c.Get("input").JSON())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sdk.Parse(string(out)); err != nil || !sdktest.Contains(got, c.Get("expect")) {
		t.Errorf("answer = %s, want %s", out, c.Get("expect").JSON())
	}
}

func firstCase(t *testing.T, dir string) sdk.Value {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "cases", "first.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := sdk.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func build(t *testing.T, dir, lang string) {
	t.Helper()
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", "my-plugin.wasm"}
	if lang == "go" {
		args = append(args, "-buildmode=c-shared")
	}
	run(t, dir, offline("GOOS=wasip1", "GOARCH=wasm"), "go", append(args, ".")...)
}

// The other languages' projects build with make, where OGP_TOOLCHAINS=1 says that clang, a
// rustc with the wasm target (RUSTC), asc (ASC) and opa (OPA) are installed, and that
// Extism's PDK can be had.
func TestOtherProjectsBuildAndRun(t *testing.T) {
	if os.Getenv("OGP_TOOLCHAINS") != "1" {
		t.Skip("needs clang, rustc for wasm, asc, opa and Extism's PDK: set OGP_TOOLCHAINS=1 where they are")
	}
	bin := t.TempDir()
	run(t, ".", os.Environ(), "go", "build", "-o", filepath.Join(bin, "ogp"), "../../cmd/ogp")
	env := append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "OGP_HOME="+filepath.Join(bin, "home"))
	for _, lang := range []string{"rust", "assemblyscript", "c", "rego", "extism-go"} {
		for _, hook := range hooksOf(lang) {
			t.Run(lang+" "+hook, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "new")
				if err := scaffold.Write(dir, "my-plugin", lang, hook); err != nil {
					t.Fatal(err)
				}
				run(t, dir, env, "make")
				onHost(t, dir, hook)
				if out := run(t, dir, env, "make", "test"); !strings.Contains(out, "ok    first\n") || !strings.Contains(out, "1 passed, 0 failed") {
					t.Errorf("make test ran no case:\n%s", out)
				}
			})
		}
	}
}

// onHost runs the project's first case on the real host.
func onHost(t *testing.T, dir, hook string) {
	t.Helper()
	h, err := plugin.NewHost(plugin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	c := firstCase(t, dir)
	p, err := h.Load(context.Background(), plugin.Spec{Path: filepath.Join(dir, "my-plugin.wasm"), Config: []byte(c.Get("config").JSON())})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Call(context.Background(), plugin.Hook(hook), []byte(c.Get("input").JSON()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := sdk.Parse(string(r.Output))
	if err != nil || !sdktest.Contains(got, c.Get("expect")) {
		t.Errorf("answer = %s, want %s", r.Output, c.Get("expect").JSON())
	}
}
