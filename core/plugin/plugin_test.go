package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
)

const guests = "testdata/guests/"

func call(t testing.TB, p *plugin.Plugin, hook plugin.Hook, input string) string {
	t.Helper()
	r, err := p.Call(t.Context(), hook, []byte(input))
	if err != nil {
		t.Fatalf("Call(%s, %s): %v", hook, input, err)
	}
	return string(r.Output)
}

func TestCallPolicy(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{Bytes: read(t, guests+"policy.wasm"), Config: []byte(`{"friend":"bob"}`)})
	for in, want := range map[string]string{
		`{"peer":{"alias":"bob"}}`:                             "allow",
		`{"a":[1,{"alias":"x"}],"peer":{"x":1,"alias":"bob"}}`: "allow",
		`{"peer":{"alias":"b\u006fb"}}`:                        "allow",
		`{"peer":{"alias":"bobo"}}`:                            "abstain",
		`{"peer":{"alias":null}}`:                              "abstain",
		`{"peer":{}}`:                                          "abstain",
		`{"alias":"bob"}`:                                      "abstain",
	} {
		if got := call(t, p, plugin.Message, in); got != `{"decision":"`+want+`"}` {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	r, err := p.Call(t.Context(), plugin.Message, []byte(`{"peer":{"alias":"bob"}}`))
	if err != nil || r.FuelUsed < 1 || r.HostCalls != 5 || r.MemoryBytes < 65536 || r.Took <= 0 {
		t.Errorf("%+v, %v: want its costs", r, err)
	}
	if _, err := p.Call(t.Context(), plugin.Notify, []byte(`{}`)); !errors.Is(err, plugin.Denied) {
		t.Errorf("a hook it has not: %v, want Denied", err)
	}
	i := p.Info()
	if i.Kind != plugin.KindABI || len(i.Hooks) != 1 || i.Calls != 8 || i.Instances != 1 || i.Failures != 0 || len(i.SHA256) != 64 {
		t.Errorf("%+v", i)
	}
}

func TestStatuses(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{Bytes: read(t, guests+"operate.wasm")})
	r, err := p.Call(t.Context(), plugin.Handle, []byte(`{"skip":1}`))
	if err != nil || !r.NotMine() || r.Output != nil {
		t.Errorf("not mine: %+v, %v", r, err)
	}
	r, err = p.Call(t.Context(), plugin.Handle, []byte(`{"say":"the backend is down"}`))
	wantKind(t, err, plugin.Failed)
	if r.Status != 3 || string(r.Output) != "the backend is down" || !strings.Contains(err.Error(), "handle: failed: the backend is down") {
		t.Errorf("%+v, %v", r, err)
	}
	if n := p.Info().Instances; n != 1 {
		t.Errorf("%d instances after an orderly failure, want the same one", n)
	}
}

// TestGet has a guest ask for attributes of its input and configuration.
func TestGet(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{
		Bytes:    read(t, guests+"operate.wasm"),
		Manifest: &plugin.Manifest{Name: "x", Config: map[string]any{"a": "default", "b": int64(7)}},
		Config:   []byte(`{"a":"mine"}`),
	})
	for path, want := range map[string]string{
		"peer.alias": "bob", "peer.n": "-1.5", "peer.yes": "true", "peer": `{ "alias" : "bob" , "n":-1.5, "yes":true, "nil":null }`,
		"list": "a\nb\n3", "empty": "", "none": "", "config.a": "mine", "config.b": "7", "esc": "tab\there", "deep.a.b.c": "d",
	} {
		in := `{"get":"` + path + `","peer":{ "alias" : "bob" , "n":-1.5, "yes":true, "nil":null },"list":["a","b",3],"empty":[],"none":"","esc":"tab\there","deep":{"a":{"b":{"c":"d"}}}}`
		out, err := p.Call(t.Context(), plugin.Notify, []byte(in))
		if path == "list" || path == "esc" { // holds what the guest does not escape
			wantKind(t, err, plugin.BadAnswer)
			continue
		}
		if got := strings.ReplaceAll(string(out.Output), `\"`, `"`); err != nil || got != `{"text":"`+want+`"}` {
			t.Errorf("%s: %s (%v), want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"peer.nil", "peer.alias.x", "nothing", "", ".", "config.c", "list.0"} {
		if got := call(t, p, plugin.Notify, `{"peer":{"alias":"bob","nil":null},"list":[1],"get":"`+path+`"}`); got != `{"missing":true}` {
			t.Errorf("%q: %s, want missing", path, got)
		}
	}
}

func TestGoGuest(t *testing.T) {
	h := newHost(t)
	p := load(t, h, plugin.Spec{Bytes: read(t, guests+"goguest.wasm"), Limits: plugin.Limits{Timeout: plugin.Duration(300 * time.Millisecond)}})
	if got := call(t, p, plugin.Message, `{}`); got != allow {
		t.Errorf("answer = %s", got)
	}
	for in, want := range map[string]struct {
		kind core.Kind
		text string
	}{
		`{"a":"panic"}`: {plugin.Trap, "stderr: panic: boom"},
		`{"a":"nil"}`:   {plugin.Trap, "nil pointer dereference"},
		`{"a":"exit"}`:  {plugin.Trap, "exit status 3"},
		`{"a":"eat"}`:   {plugin.Trap, "out of memory"},
	} {
		_, err := p.Call(t.Context(), plugin.Message, []byte(in))
		wantKind(t, err, want.kind)
		if err != nil && !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: error %q, want it to say %q", in, err, want.text)
		}
		if got := call(t, p, plugin.Message, `{}`); got != allow {
			t.Errorf("after %s: %s", in, got)
		}
	}
}

// TestP1Clock has a notifier know the time and a policy not; neither sleeps past its deadline.
func TestP1Clock(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{Bytes: read(t, guests+"goguest.wasm"), Limits: plugin.Limits{Timeout: limit100ms * 3}})
	if got, want := call(t, p, plugin.Notify, `{"a":"year"}`), time.Now().UTC().Format(`{"year":"2006"}`); got != want {
		t.Errorf("a notifier's year: %s, want %s", got, want)
	}
	_, err := p.Call(t.Context(), plugin.Notify, []byte(`{"a":"sleep"}`))
	wantKind(t, err, plugin.Timeout)

	pure := load(t, newHost(t), plugin.Spec{Bytes: read(t, guests+"goguest.wasm"), Manifest: &plugin.Manifest{Name: "x", Hooks: []plugin.Hook{plugin.Message}}})
	if got := call(t, pure, plugin.Message, `{"a":"year"}`); got != `{"year":"2000"}` {
		t.Errorf("a policy's year: %s, want 2000", got)
	}
	if got := call(t, pure, plugin.Message, `{"a":"sleep"}`); got != allow {
		t.Errorf("a policy's sleep: %s, want that it passes at once", got)
	}
}

// TestOneCallAtATime calls one Go guest from many goroutines: concurrent calls of one instance would corrupt it.
func TestOneCallAtATime(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{Bytes: read(t, guests+"goguest.wasm"), Limits: plugin.Limits{Instances: 2}})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if r, err := p.Call(context.Background(), plugin.Message, []byte(`{}`)); err != nil || string(r.Output) != allow {
					t.Errorf("%s, %v", r.Output, err)
				}
			}
		})
	}
	wg.Wait()
	if i := p.Info(); i.Instances > 2 || i.Calls != 800 || i.Failures != 0 {
		t.Errorf("%d instances, %d calls, %d failures", i.Instances, i.Calls, i.Failures)
	}
}

func TestBusy(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{Bytes: guest(asm.Forever(), 0), Limits: plugin.Limits{Instances: 1, Fuel: 1e12}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := p.Call(ctx, plugin.Notify, []byte(`{}`))
		done <- err
	}()
	for p.Info().Instances == 1 && len(done) == 0 { // until the first call holds the instance, this one may get it
		short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := p.Call(short, plugin.Notify, []byte(`{}`))
		stop()
		if errors.Is(err, plugin.Busy) {
			break
		}
		wantKind(t, err, plugin.Timeout)
	}
	cancel()
	if err := <-done; !errors.Is(err, plugin.Canceled) && !errors.Is(err, plugin.Busy) {
		t.Errorf("the canceled call: %v", err)
	}
}

// TestMaxCalls has an instance replaced after so many calls: the Go guest counts in its memory.
func TestMaxCalls(t *testing.T) {
	m := newGuest()
	m.Memory(1, -1)
	m.Global(0)
	m.Data(1024, `{"n":0}`)
	bytes := finish(m, m.Func(i32s(1), i32s(1), 0, asm.GlobalGet(0), 1, asm.I32Add, asm.GlobalSet(0),
		1029, asm.GlobalGet(0), int('0'), asm.I32Add, []byte{0x3a, 0, 0}, 1024, 7, asm.Call(fWrite), 0))
	p := load(t, newHost(t), plugin.Spec{Bytes: bytes, Limits: plugin.Limits{MaxCalls: 3, Instances: 1}})
	var got []string
	for range 7 {
		got = append(got, call(t, p, plugin.Message, `{}`)[5:6])
	}
	if s := strings.Join(got, ""); s != "1231231" {
		t.Errorf("counts = %s, want 1231231", s)
	}
}

// TestTrapDropsTheInstance has the memory of a crashed instance gone with it.
func TestTrapDropsTheInstance(t *testing.T) {
	m := newGuest()
	m.Memory(1, -1)
	m.Data(1024, allow)
	bytes := finish(m, m.Func(i32s(1), i32s(1), 0, 0, asm.Load(0), asm.If, asm.Void, asm.Unreachable, asm.End,
		asm.Get(0), 2, asm.I32Sub, asm.If, asm.Void, 0, 1, asm.Store(0), asm.Unreachable, asm.End, answering))
	p := load(t, newHost(t), plugin.Spec{Bytes: bytes, Limits: plugin.Limits{Instances: 1}})
	for range 3 {
		if _, err := p.Call(t.Context(), plugin.Message, []byte(`{"a":1}`)); !errors.Is(err, plugin.Trap) {
			t.Fatalf("error = %v, want Trap", err)
		}
		if got := call(t, p, plugin.Message, `{}`); got != allow {
			t.Fatalf("after a trap: %s", got)
		}
	}
}

// TestTrace gives an author the names of the functions that a trap came through.
func TestTrace(t *testing.T) {
	m := newGuest()
	m.Memory(1, -1)
	inner := m.Func(nil, nil, 0, asm.Unreachable)
	bytes := func() []byte {
		m.Custom("name", "\x01\x10\x02"+string(asm.U(uint64(inner)))+"\x05inner"+string(asm.U(uint64(inner+1)))+"\x06policy")
		return finish(m, m.Func(i32s(1), i32s(1), 0, asm.Call(inner), 0))
	}()
	_, err := load(t, newHost(t), plugin.Spec{Bytes: bytes}).Call(t.Context(), plugin.Message, []byte(`{}`))
	var e *plugin.Error
	if !errors.As(err, &e) || e.Kind != plugin.Trap || !strings.Contains(e.Trace, ".inner()\n\t.policy(i32) i32") {
		t.Errorf("error = %v, trace = %q, want inner and policy", err, e.Trace)
	}
}

// TestP3Breaker has a plugin that always crashes set aside, tried again, and used again once it works.
func TestP3Breaker(t *testing.T) {
	var now atomic.Int64
	h, err := plugin.NewHost(plugin.Options{Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	// It crashes on an input of 2 bytes.
	p := load(t, h, plugin.Spec{Bytes: guest(asm.Get(0), 2, asm.I32Sub, asm.I32Eqz, asm.If, asm.Void, asm.Unreachable, asm.End, answering)})
	fails := func(kind core.Kind) {
		t.Helper()
		_, err := p.Call(t.Context(), plugin.Message, []byte(`{}`))
		wantKind(t, err, kind)
	}
	for range 5 {
		fails(plugin.Trap)
	}
	fails(plugin.Paused)
	_, err = p.Call(t.Context(), plugin.Message, []byte(`{"a":1}`))
	var e *plugin.Error
	if !errors.As(err, &e) || e.RetryAfter != 15*time.Second {
		t.Errorf("error = %v, RetryAfter = %v, want 15s", err, e.RetryAfter)
	}
	if i := p.Info(); i.PausedFor != 15*time.Second || !strings.Contains(i.LastError, "unreachable") {
		t.Errorf("%+v", i)
	}
	now.Add(15)
	fails(plugin.Trap) // one try
	fails(plugin.Paused)
	now.Add(29)
	fails(plugin.Paused)
	now.Add(1)
	for range 4 {
		if got := call(t, p, plugin.Message, `{"a":1}`); got != allow {
			t.Errorf("answer = %s", got)
		}
	}
	for range 4 { // the row begins anew
		fails(plugin.Trap)
	}
	if got := call(t, p, plugin.Message, `{"a":1}`); got != allow {
		t.Errorf("answer = %s", got)
	}
}

// TestP3FailsWithoutAnAnswer has every kind of failure give no output that a caller could take for a decision.
func TestP3FailsWithoutAnAnswer(t *testing.T) {
	h := newHost(t)
	for name, wasm := range map[string][]byte{
		"trap":     guest(1024, len(allow), asm.Call(fWrite), asm.Unreachable),
		"exit":     guest(1024, len(allow), asm.Call(fWrite), 0, asm.Call(fExit), 0),
		"timeout":  guest(1024, len(allow), asm.Call(fWrite), asm.Forever(), 0),
		"status":   guest(1024, len(allow), asm.Call(fWrite), -7),
		"not JSON": guest(1024, len(allow)-1, asm.Call(fWrite), 0),
	} {
		p := load(t, h, plugin.Spec{Bytes: wasm, Limits: plugin.Limits{Timeout: limit100ms}})
		if r, err := p.Call(t.Context(), plugin.Message, []byte(`{}`)); err == nil || r.Output != nil {
			t.Errorf("%s: %s, %v: want an error and no output", name, r.Output, err)
		}
	}
}

// TestP4Pin refuses a module that is not the pinned one.
func TestP4Pin(t *testing.T) {
	h := newHost(t)
	wasm := guest(answering)
	m, err := plugin.Inspect(plugin.Spec{Name: "x", Bytes: wasm})
	if err != nil {
		t.Fatal(err)
	}
	p := load(t, h, plugin.Spec{Bytes: wasm, SHA256: strings.ToUpper(m.SHA256)})
	for _, pin := range []string{strings.Repeat("0", 64), m.SHA256[:63], m.SHA256 + "0", "x"} {
		_, err := h.Load(t.Context(), plugin.Spec{Name: "x", Bytes: wasm, SHA256: pin})
		wantKind(t, err, plugin.Denied)
	}
	err = p.Replace(t.Context(), plugin.Spec{Bytes: guest(asm.Nop, answering), SHA256: m.SHA256})
	wantKind(t, err, plugin.Denied)
	if p.Info().SHA256 != m.SHA256 {
		t.Error("another module than the pinned one is in force")
	}
}

// version is a guest that answers with its number.
func numbered(n int) []byte {
	m := newGuest()
	m.Memory(1, -1)
	m.Data(1024, fmt.Sprintf(`{"version":%d}`, n))
	return finish(m, m.Func(i32s(1), i32s(1), 0, 1024, 13, asm.Call(fWrite), 0))
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.wasm")
	put := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("p.wasm", numbered(1))
	put("plugin.toml", []byte("name = \"p\"\nhooks = [\"policy\"]\n[[selftest]]\ninput = { }\nexpect = { version = 1 }\n"))
	spec := plugin.Spec{Path: file}
	p := load(t, newHost(t), spec)
	is := func(n int) {
		t.Helper()
		if got, want := call(t, p, plugin.Message, `{}`), fmt.Sprintf(`{"version":%d}`, n); got != want {
			t.Errorf("answer = %s, want %s", got, want)
		}
	}
	is(1)
	put("p.wasm", numbered(2))
	err := p.Replace(t.Context(), spec)
	wantKind(t, err, plugin.BadModule)
	if err == nil || !strings.Contains(err.Error(), `self-test 1: at .version: got {"version":2}, want {"version":1}`) {
		t.Errorf("error = %v", err)
	}
	is(1)
	put("plugin.toml", []byte("name = \"p\"\nhooks = [\"policy\"]\n[[selftest]]\ninput = { }\nexpect = { version = 2 }\n"))
	if err := p.Replace(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	is(2)
	put("plugin.toml", []byte("nam = 1"))
	wantKind(t, p.Replace(t.Context(), spec), plugin.BadManifest)
	is(2)
	put("p.wasm", []byte("garbage"))
	wantKind(t, p.Replace(t.Context(), spec), plugin.BadModule)
	is(2)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	wantKind(t, p.Replace(t.Context(), spec), plugin.BadModule)
	is(2)
	if err := p.Replace(t.Context(), plugin.Spec{Bytes: numbered(3)}); err != nil {
		t.Fatal(err)
	}
	is(3)
}

// TestReloadUnderLoad swaps while calls run: every call gets an answer of one version or the other.
func TestReloadUnderLoad(t *testing.T) {
	p := load(t, newHost(t), plugin.Spec{Bytes: numbered(1)})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				r, err := p.Call(context.Background(), plugin.Message, []byte(`{}`))
				if err != nil || !strings.HasPrefix(string(r.Output), `{"version":`) {
					t.Errorf("%s, %v", r.Output, err)
				}
			}
		})
	}
	for n := range 20 {
		if err := p.Replace(t.Context(), plugin.Spec{Bytes: numbered(n % 10)}); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
}

func TestClose(t *testing.T) {
	h := newHost(t)
	spec := plugin.Spec{Bytes: guest(answering)}
	p := load(t, h, spec)
	p.Close()
	_, err := p.Call(t.Context(), plugin.Message, []byte(`{}`))
	wantKind(t, err, plugin.Closed)
	wantKind(t, p.Replace(t.Context(), spec), plugin.Closed)
	p.Close()
	h.Close()
	_, err = h.Load(t.Context(), plugin.Spec{Name: "x", Bytes: guest(answering)})
	wantKind(t, err, plugin.Closed)
}

func TestLoadCanceled(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Load(ctx, plugin.Spec{Name: "x", Bytes: read(t, guests+"goguest.wasm")})
	wantKind(t, err, plugin.Canceled, plugin.BadModule)
}

func TestCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	for range 2 {
		h, err := plugin.NewHost(plugin.Options{CacheDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		p := load(t, h, plugin.Spec{Bytes: read(t, guests+"policy.wasm")})
		if got := call(t, p, plugin.Message, `{}`); got != `{"decision":"abstain"}` {
			t.Errorf("answer = %s", got)
		}
		h.Close()
	}
	files := 0
	filepath.WalkDir(dir, func(_ string, d os.DirEntry, _ error) error {
		if !d.IsDir() {
			files++
		}
		return nil
	})
	if files == 0 {
		t.Error("nothing was kept")
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode = %v (%v), want 0700", st.Mode(), err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := plugin.NewHost(plugin.Options{CacheDir: dir}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("error = %v, want advice to chmod 700", err)
	}
}

// TestP2Log bounds what a guest logs, in length, rate and characters.
func TestP2Log(t *testing.T) {
	var log sink
	h := newHost(t)
	p := load(t, h, plugin.Spec{Name: "x", Bytes: read(t, guests+"operate.wasm"), Logger: log.logger()})
	call(t, p, plugin.Notify, `{"log":"a\u001b[2Jb\nlevel=ERROR msg=forged \u202e"}`)
	if s := log.String(); strings.Contains(s, "\x1b") || strings.Count(s, "\n") != 1 || !strings.Contains(s, "level=WARN") || !strings.Contains(s, "text=\"a [2Jb | level=ERROR msg=forged") {
		t.Errorf("log = %q", s)
	}
	call(t, p, plugin.Notify, `{"log":"`+strings.Repeat("x", 100_000)+`"}`)
	if n := len(log.String()); n > 9000 {
		t.Errorf("log of %d bytes, want it cut at 8 KiB", n)
	}
	for range 1000 {
		call(t, p, plugin.Notify, `{"log":"again"}`)
	}
	if n := strings.Count(log.String(), "\n"); n > 100 {
		t.Errorf("%d lines of 1002, want them limited", n)
	}
}

// TestP2NoGrowth calls often and looks at what the guest and the program hold.
func TestP2NoGrowth(t *testing.T) {
	n := 200_000
	if testing.Short() {
		n = 20_000
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	h := newHost(t)
	for _, file := range []string{"policy.wasm", "goguest.wasm"} {
		p := load(t, h, plugin.Spec{Bytes: read(t, guests+file)})
		var memory, before int64
		for i := range n {
			r, err := p.Call(t.Context(), plugin.Message, []byte(`{"peer":{"alias":"bob"}}`))
			if err != nil {
				t.Fatal(err)
			}
			if i == n/2 {
				memory, before = r.MemoryBytes, heap()
			}
			if i == n-1 && r.MemoryBytes > memory+2<<20 {
				t.Errorf("%s: memory of %d bytes, half-way %d", file, r.MemoryBytes, memory)
			}
		}
		if after := heap(); after > before+4<<20 {
			t.Errorf("%s: a heap of %d bytes, half-way %d", file, after, before)
		}
		if i := p.Info(); i.Instances != 1 {
			t.Errorf("%s: %d instances, want 1", file, i.Instances)
		}
		p.Close()
	}
}
