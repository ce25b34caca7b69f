package control_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/coretest"
)

func TestMain(m *testing.M) { coretest.Main(m) }

var whole = &core.Error{Kind: core.Ambiguous, Public: `"b" could be any of 2 peers`, Hint: "name one by its fingerprint",
	RetryAfter: 1500 * time.Millisecond, Candidates: []string{"A", "B"}, Detail: core.Raw(`{"a":1}`)}

// serve starts a daemon's side and returns a client of it.
func serve(t *testing.T, s *control.Server) (*control.Client, string, func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), control.SocketName)
	stop := serveAt(t, s, path)
	return control.Dial(path), path, stop
}

func serveAt(t *testing.T, s *control.Server, path string) func() {
	t.Helper()
	ln, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func echo(_ context.Context, params jsontext.Value) (any, error) { return params, nil }

func TestCall(t *testing.T) {
	c, _, _ := serve(t, &control.Server{Methods: map[string]control.Method{
		"echo": echo,
		"fail": func(context.Context, jsontext.Value) (any, error) { return nil, whole },
		"plain": func(context.Context, jsontext.Value) (any, error) {
			return nil, errors.New("disk on fire")
		},
	}})
	big := map[string]string{"text": strings.Repeat("é\"", 1<<20)}
	var got map[string]string
	if err := c.Call(t.Context(), "echo", big, &got); err != nil || got["text"] != big["text"] {
		t.Errorf("echo of %d bytes = %d bytes, %v", len(big["text"]), len(got["text"]), err)
	}
	if err := c.Call(t.Context(), "echo", nil, nil); err != nil {
		t.Errorf("Call without params and result = %v", err)
	}

	err := c.Call(t.Context(), "fail", nil, nil)
	var e *core.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %T, want *core.Error", err)
	}
	want := *whole
	want.RetryAfter = 2 * time.Second // whole seconds, up
	if diff := cmp.Diff(want, *e, cmpopts.EquateComparable()); diff != "" {
		t.Errorf("the error on the other side (-want +got):\n%s", diff)
	}
	if err := c.Call(t.Context(), "plain", nil, nil); !errors.Is(err, core.Internal) || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("plain error = %v, want its text, of kind internal", err)
	}
	if err := c.Call(t.Context(), "none", nil, nil); !errors.Is(err, core.NotFound) || !strings.Contains(err.Error(), "none") {
		t.Errorf("unknown method = %v, want NotFound", err)
	}
}

func TestNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), control.SocketName)
	c := control.Dial(path)
	if err := c.Call(t.Context(), "echo", nil, nil); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("without a socket: %v, want ErrNoDaemon", err)
	}
	// A socket that a killed daemon has left behind.
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if err := c.Call(t.Context(), "echo", nil, nil); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("with a stale socket: %v, want ErrNoDaemon", err)
	}
	serveAt(t, &control.Server{Methods: map[string]control.Method{"echo": echo}}, path)
	if err := c.Call(t.Context(), "echo", nil, nil); err != nil {
		t.Errorf("after the stale socket was replaced: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(ctx, "echo", nil, nil); errors.Is(err, control.ErrNoDaemon) || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v, want context.Canceled", err)
	}
}

func TestListen(t *testing.T) {
	_, path, stop := serve(t, &control.Server{})
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != os.ModeSocket|0o600 {
		t.Errorf("socket mode %v, want 0600", got)
	}
	if _, err := control.Listen(path); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("second Listen = %v, want an error that says who has it", err)
	}
	stop()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end the socket is still there: %v", err)
	}
	file := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(file); err == nil {
		t.Error("Listen took the place of a file that is no socket")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "data" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestPath(t *testing.T) {
	if got, want := control.Path("/home/u/.ogp"), "/home/u/.ogp/ogp.sock"; got != want {
		t.Errorf("Path = %s, want %s", got, want)
	}
	long := "/" + strings.Repeat("deep/", 40)
	got := control.Path(long)
	if len(got) > 100 || got != control.Path(long) || got == control.Path(long+"x") {
		t.Errorf("Path of a long directory = %s: want a short one of its own", got)
	}
}

func TestStream(t *testing.T) {
	started, ended := make(chan struct{}, 1), make(chan struct{})
	c, _, _ := serve(t, &control.Server{Beat: 20 * time.Millisecond, Streams: map[string]control.Stream{
		"count": func(_ context.Context, params jsontext.Value, send func(any) error) error {
			var in struct{ To int }
			if err := json.Unmarshal(params, &in, json.MatchCaseInsensitiveNames(true)); err != nil {
				return err
			}
			for i := range in.To {
				if err := send(i); err != nil {
					return err
				}
			}
			return nil
		},
		"fail": func(_ context.Context, _ jsontext.Value, send func(any) error) error {
			return errors.Join(send("one"), whole)
		},
		"wait": func(ctx context.Context, _ jsontext.Value, _ func(any) error) error {
			started <- struct{}{}
			<-ctx.Done()
			close(ended)
			return ctx.Err()
		},
	}})
	var lines []string
	collect := func(line []byte) error { lines = append(lines, string(line)); return nil }
	if err := c.Stream(t.Context(), "count", map[string]int{"to": 3}, collect); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"0", "1", "2"}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	lines = nil
	err := c.Stream(t.Context(), "fail", nil, collect)
	if !errors.Is(err, core.Ambiguous) || len(lines) != 1 {
		t.Errorf("failing stream = %v after %d lines, want its error after 1", err, len(lines))
	}
	if err := c.Stream(t.Context(), "none", nil, collect); !errors.Is(err, core.NotFound) {
		t.Errorf("unknown stream = %v, want NotFound", err)
	}
	stop := errors.New("enough")
	if err := c.Stream(t.Context(), "count", map[string]int{"to": 1000}, func([]byte) error { return stop }); err != stop {
		t.Errorf("Stream = %v, want what f returned", err)
	}

	// A client that leaves ends a stream that has nothing to say.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Stream(ctx, "wait", nil, collect) }()
	<-started
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Stream after cancel = %v, want nil", err)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the stream goes on after its client has left")
	}
}

// A daemon that stops ends its streams and does not wait for them.
func TestStreamEndsWithDaemon(t *testing.T) {
	started := make(chan struct{})
	c, _, stop := serve(t, &control.Server{Streams: map[string]control.Stream{
		"wait": func(ctx context.Context, _ jsontext.Value, _ func(any) error) error {
			close(started)
			<-ctx.Done()
			return nil
		},
	}})
	done := make(chan error, 1)
	go func() { done <- c.Stream(t.Context(), "wait", nil, func([]byte) error { return nil }) }()
	<-started
	stop()
	if err := <-done; err != nil {
		t.Errorf("Stream = %v, want its end", err)
	}
}
