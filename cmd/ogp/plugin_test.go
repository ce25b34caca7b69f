package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/plugins"
)

// TestPluginScripts runs the scripts about plugins, with the committed modules of
// $EXAMPLES and commands of their own.
func TestPluginScripts(t *testing.T) {
	examples, err := filepath.Abs(filepath.Join("..", "..", "examples", "plugins"))
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"exits": exitsCmd, "poll": pollCmd, "daemon": daemonCmd, "signal": signalCmd, "gone": goneCmd, "event": eventCmd, "await": awaitCmd, "hangup": hangupCmd,
		"json": jsonCmd, "jsonset": jsonSetCmd, "mode": modeCmd, "stranger": strangerCmd, "message": envelopeCmd,
		"receiver": receiverCmd, "a2a": a2aCmd, "received": receivedCmd, "state": stateCmd, "edit": editCmd, "compile": compileCmd, "append": appendCmd, "saying": sayingCmd,
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script", "plugin"), RequireUniqueNames: true, Cmds: commands,
		Setup: func(env *testscript.Env) error {
			env.Setenv("EXAMPLES", examples)
			env.Setenv("COMPILED", cache)
			if dir, err := os.UserHomeDir(); err == nil { // the go tool needs its caches
				env.Setenv("GOCACHE", goEnv("GOCACHE", filepath.Join(dir, ".cache", "go-build")))
				env.Setenv("GOMODCACHE", goEnv("GOMODCACHE", filepath.Join(dir, "go", "pkg", "mod")))
			}
			return prepare(env)
		},
	})
}

func goEnv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// state <name>...: makes state directories that share one cache of compiled
// modules, as each module takes seconds to compile.
func stateCmd(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Check(os.MkdirAll(ts.MkAbs(name), 0o700))
		ts.Check(os.Symlink(ts.Getenv("COMPILED"), filepath.Join(ts.MkAbs(name), daemon.CompileCache)))
	}
}

// compile <name>...: compiles examples and shipped plugins into the shared cache,
// however long that takes: on a busy machine with the race detector, longer than a
// script waits.
func compileCmd(ts *testscript.TestScript, neg bool, args []string) {
	host, err := plugin.NewHost(plugin.Options{CacheDir: ts.Getenv("COMPILED")})
	ts.Check(err)
	defer host.Close()
	for _, name := range args {
		spec := plugin.Spec{Path: filepath.Join(ts.Getenv("EXAMPLES"), name, name+".wasm")}
		if own, ok := plugins.Get(name); ok {
			manifest, err := plugin.ParseManifest(own.Manifest)
			ts.Check(err)
			spec = plugin.Spec{Bytes: own.Wasm, Manifest: manifest, Config: []byte(`{"url":"https://example.org","topic":"t"}`)}
		}
		p, err := host.Load(context.Background(), spec)
		ts.Check(err)
		p.Close()
	}
}

// edit <file> <old> <new>: replaces the one place where a text stands.
func editCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit file old new")
	}
	text := ts.ReadFile(args[0])
	if strings.Count(text, args[1]) != 1 {
		ts.Fatalf("%s has %q %d times, want once", args[0], args[1], strings.Count(text, args[1]))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o600))
}

// append <file>: changes a module's bytes, and nothing of what it does: another
// custom section.
func appendCmd(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Check(os.WriteFile(ts.MkAbs(name), append([]byte(ts.ReadFile(name)), 0, 2, 1, 'x'), 0o600))
	}
}

// saying <file> <answer> [<export>...]: writes a module that gives one answer, of at most
// 63 bytes, to every message and request, or to what it exports otherwise.
func sayingCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args[1]) > 63 {
		ts.Fatalf("usage: saying file answer [export...]")
	}
	exports := args[2:]
	if len(exports) == 0 {
		exports = []string{"ogp_message", "ogp_request"}
	}
	name := func(s string) string { return string(rune(len(s))) + s }
	named := string(rune(1+len(exports))) + name("memory") + "\x02\x00"
	for _, e := range exports {
		named += name(e) + "\x00\x01"
	}
	wasm := "\x00asm\x01\x00\x00\x00" + "\x01\x0b\x02\x60\x02\x7f\x7f\x00\x60\x01\x7f\x01\x7f" + "\x02\x10\x01\x06ogp_v1\x05write\x00\x00" +
		"\x03\x02\x01\x01" + "\x05\x03\x01\x00\x01" + "\x07" + name(named) +
		"\x0a\x0c\x01\x0a\x00\x41\x00\x41" + string(rune(len(args[1]))) + "\x10\x00\x41\x00\x0b" +
		"\x0b" + string(rune(6+len(args[1]))) + "\x01\x00\x41\x00\x0b" + name(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o700))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(wasm), 0o600))
}

// receivers are the backends of scripts, by script and name.
var receivers sync.Map

// backend is an HTTP server that keeps what it gets.
type backend struct {
	server *httptest.Server
	mu     sync.Mutex // guards the rest
	got    []string
	status []int  // of the next answers; then 200
	says   string // an A2A agent's answer, at the second look at its task
	looks  int
}

func (b *backend) Close() error { b.server.Close(); return nil }

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s\n", r.Method, r.URL.Path)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&text, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
	}
	fmt.Fprintf(&text, "\n%s\n", body)
	b.mu.Lock()
	b.got = append(b.got, text.String())
	status := http.StatusOK
	if len(b.status) > 0 {
		status, b.status = b.status[0], b.status[1:]
	}
	b.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if b.says != "" {
		fmt.Fprint(w, b.agent(string(body)))
		return
	}
	fmt.Fprint(w, `{"ok":true,"runId":"run-1","id":"sPs71M8A2T","event":"message"}`) // OpenClaw's answer, and ntfy's
}

// agent is what an A2A agent answers. It has one task.
func (b *backend) agent(body string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	const task = `{"id":"task-7","contextId":"c","status":{"state":"TASK_STATE_WORKING"}}`
	switch {
	case strings.Contains(body, `"SendMessage"`):
		return `{"jsonrpc":"2.0","id":"1","result":{"task":` + task + `}}`
	case !strings.Contains(body, "task-7"):
		return `{"jsonrpc":"2.0","id":"1","error":{"code":-32001,"message":"Task not found"}}`
	}
	if b.looks++; b.looks < 2 {
		return `{"jsonrpc":"2.0","id":"1","result":` + task + `}`
	}
	return `{"jsonrpc":"2.0","id":"1","result":{"id":"task-7","status":{"state":"TASK_STATE_COMPLETED"},"artifacts":[{"parts":[{"text":"` + b.says + `"}]}]}}`
}

// a2a <name> <answer>: starts an A2A agent, which is a receiver.
func a2aCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: a2a name answer")
	}
	receiverCmd(ts, false, args[:1])
	found, _ := receivers.Load(ts.MkAbs(args[0]))
	found.(*backend).says = args[1]
}

// receiver <name> [status...]: starts a backend. It answers with these statuses,
// one after the other, and then with 200. It sets $<name>_URL.
func receiverCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: receiver name [status...]")
	}
	b := &backend{}
	for _, s := range args[1:] {
		status, err := strconv.Atoi(s)
		ts.Check(err)
		b.status = append(b.status, status)
	}
	b.server = httptest.NewServer(b)
	s := sceneOf(ts)
	s.closers = append(s.closers, b)
	receivers.Store(ts.MkAbs(args[0]), b)
	ts.Setenv(args[0]+"_URL", b.server.URL)
}

// received <name> <regexp> [count]: waits until a backend got as many requests that
// have the pattern, by default one, and prints them. After "!": it has none.
func receivedCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: received name regexp [count]")
	}
	found, ok := receivers.Load(ts.MkAbs(args[0]))
	if !ok {
		ts.Fatalf("no receiver %q", args[0])
	}
	b, want, count := found.(*backend), pattern(ts, args[1]), 1
	if len(args) == 3 {
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		count = n
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		b.mu.Lock()
		all := slices.Clone(b.got)
		b.mu.Unlock()
		matched := slices.DeleteFunc(slices.Clone(all), func(text string) bool { return !want.MatchString(text) })
		switch {
		case neg && len(matched) > 0:
			ts.Fatalf("%s got %q:\n%s", args[0], args[1], strings.Join(matched, "\n"))
		case neg:
			return
		case len(matched) == count:
			fmt.Fprint(ts.Stdout(), strings.Join(matched, "\n"))
			return
		case len(matched) > count || time.Now().After(deadline):
			ts.Fatalf("%s got %d requests with %q, want %d; all:\n%s", args[0], len(matched), args[1], count, strings.Join(all, "\n"))
		}
	}
}
