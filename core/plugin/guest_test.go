package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
	"go.uber.org/goleak"
)

// cacheDir is shared by the tests' hosts, so that a guest in Go is compiled once.
var cacheDir string

func TestMain(m *testing.M) {
	plugin.CompileChildMain()
	var err error
	if cacheDir, err = os.MkdirTemp("", "ogp-plugin-test-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(cacheDir)
		os.Exit(code)
	}))
}

// The functions that every guest made here imports, by index.
const (
	fRead uint32 = iota
	fWrite
	fGet
	fCall
	fLog
	fRandom
	fPoll
	fFdWrite
	fExit
	fClock
	fYield
	fArgs
	fFdRead
	fFdstat
	fEnviron
	fPathOpen
)

var i32s = func(n int) []byte { return bytes.Repeat([]byte{asm.I32}, n) }

// newGuest gives a module with the imports above and 1 page of memory with an answer at 1024.
func newGuest() *asm.Module {
	m := &asm.Module{}
	m.Import("ogp_v1", "read", i32s(1), nil)
	m.Import("ogp_v1", "write", i32s(2), nil)
	m.Import("ogp_v1", "get", i32s(2), i32s(1))
	m.Import("ogp_v1", "call", i32s(4), i32s(1))
	m.Import("ogp_v1", "log", i32s(3), nil)
	wasi := "wasi_snapshot_preview1"
	m.Import(wasi, "random_get", i32s(2), i32s(1))
	m.Import(wasi, "poll_oneoff", i32s(4), i32s(1))
	m.Import(wasi, "fd_write", i32s(4), i32s(1))
	m.Import(wasi, "proc_exit", i32s(1), nil)
	m.Import(wasi, "clock_time_get", []byte{asm.I32, asm.I64, asm.I32}, i32s(1))
	m.Import(wasi, "sched_yield", nil, i32s(1))
	m.Import(wasi, "args_get", i32s(2), i32s(1))
	m.Import(wasi, "fd_read", i32s(4), i32s(1))
	m.Import(wasi, "fd_fdstat_get", i32s(2), i32s(1))
	m.Import(wasi, "environ_sizes_get", i32s(2), i32s(1))
	m.Import(wasi, "path_open", []byte{asm.I32, asm.I32, asm.I32, asm.I32, asm.I32, asm.I64, asm.I64, asm.I32, asm.I32}, i32s(1))
	return m
}

const allow = `{"decision":"allow"}`

// answering ends a hook with the answer in memory.
var answering = asm.Code(1024, len(allow), asm.Call(fWrite), 0)

func finish(m *asm.Module, f uint32) []byte {
	m.Export("ogp_policy", f)
	m.Export("ogp_notify", f)
	m.Export("ogp_handle", f)
	return m.Bytes()
}

// guest is a module whose every hook runs the body, which leaves the status. Locals 1 to 8 are free; 0 is the
// length of the input.
func guest(body ...any) []byte {
	m := newGuest()
	m.Memory(1, -1)
	m.Data(1024, allow)
	return finish(m, m.Func(i32s(1), i32s(1), 8, body...))
}

func newHost(t testing.TB) *plugin.Host {
	t.Helper()
	h, err := plugin.NewHost(plugin.Options{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func load(t testing.TB, h *plugin.Host, spec plugin.Spec) *plugin.Plugin {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "guest"
	}
	p, err := h.Load(context.Background(), spec)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return p
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wantKind checks an error's kind, that it is an *Error, and that its text begins as errors here do.
func wantKind(t testing.TB, err error, kinds ...core.Kind) {
	t.Helper()
	for _, k := range kinds {
		if errors.Is(err, k) {
			var e *plugin.Error
			if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), "plugin: ") || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("error %q: want an *Error of one line", err)
			}
			return
		}
	}
	t.Errorf("error = %v, want %q", err, kinds)
}

const limit100ms = plugin.Duration(100 * time.Millisecond)

// sink is a log that tests read.
type sink struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *sink) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
