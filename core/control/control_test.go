package control_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

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

// The methods and streams of the tests.
const (
	echo  control.Method[map[string]string, map[string]string] = "echo"
	fails control.Method[struct{}, struct{}]                   = "fail"
	plain control.Method[struct{}, struct{}]                   = "plain"
	waits control.Method[struct{}, struct{}]                   = "wait"
	count control.Stream[counting, int]                        = "count"
	half  control.Stream[struct{}, string]                     = "half"
	quiet control.Stream[struct{}, string]                     = "quiet"
)

type counting struct {
	To int `json:"to"`
}

var nothing struct{}

func echoes(_ context.Context, p map[string]string) (map[string]string, error) { return p, nil }

func TestCall(t *testing.T) {
	handlers := []control.Handler{
		echo.Handle(echoes),
		fails.Handle(func(context.Context, struct{}) (struct{}, error) { return nothing, whole }),
		plain.Handle(func(context.Context, struct{}) (struct{}, error) { return nothing, errors.New("disk on fire") }),
	}
	c, _, _ := serve(t, &control.Server{Handlers: handlers, Restart: func() string { return "systemctl --user restart ogp" }})
	big := map[string]string{"text": strings.Repeat("é\"", 1<<20)}
	for _, caller := range []control.Caller{c, control.Local(handlers)} {
		got, err := echo.Call(t.Context(), caller, big)
		if err != nil || got["text"] != big["text"] {
			t.Errorf("%T: echo of %d bytes = %d bytes, %v", caller, len(big["text"]), len(got["text"]), err)
		}
		if err := caller.Call(t.Context(), "echo", map[string]int{"a": 1}, nil); !errors.Is(err, core.Malformed) {
			t.Errorf("%T: parameters of another type = %v, want Malformed", caller, err)
		}
		if err := caller.Call(t.Context(), "fail", map[string]int{"a": 1}, nil); !errors.Is(err, core.Malformed) {
			t.Errorf("%T: unknown parameter = %v, want Malformed", caller, err)
		}
	}
	if err := control.Local(handlers).Call(t.Context(), "none", nil, nil); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("what only a daemon does, without one = %v, want ErrNoDaemon", err)
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

	// A daemon of another version says what restarts it, and names none of our types.
	for _, method := range []string{"none", "fail"} {
		err := c.Call(t.Context(), method, map[string]int{"a": 1}, nil)
		if !errors.As(err, &e) || e.Hint != "after an upgrade, restart it: systemctl --user restart ogp" || strings.Contains(err.Error(), "struct") {
			t.Errorf("%s = %v, hint %q", method, err, e.Hint)
		}
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
	serveAt(t, &control.Server{Handlers: []control.Handler{echo.Handle(echoes)}}, path)
	if err := c.Call(t.Context(), "echo", nil, nil); err != nil {
		t.Errorf("after the stale socket was replaced: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(ctx, "echo", nil, nil); errors.Is(err, control.ErrNoDaemon) || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v, want context.Canceled", err)
	}
}

// A daemon that is killed at work on a call may have done it, or not.
func TestCutShort(t *testing.T) {
	for _, begun := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{"} {
		path := filepath.Join(t.TempDir(), control.SocketName)
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, begun)
			conn.Close()
		}()
		var e *core.Error
		if err := control.Dial(path).Call(t.Context(), "echo", nil, nil); !errors.As(err, &e) || e.Kind != core.Unavailable || e.Hint == "" {
			t.Errorf("after %q: %v, want Unavailable, and what to do", begun, err)
		}
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

// A caller that goes away ends what it has asked for.
func TestCallEndsWithCaller(t *testing.T) {
	started, ended := make(chan struct{}), make(chan struct{})
	c, _, _ := serve(t, &control.Server{Handlers: []control.Handler{waits.Handle(func(ctx context.Context, _ struct{}) (struct{}, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return nothing, ctx.Err()
	})}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := waits.Call(ctx, c, nothing); done <- err }()
	<-started
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Call = %v, want context.Canceled", err)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the method goes on after its caller has left")
	}
}

// A handler that panics fails its call, and no other.
func TestPanic(t *testing.T) {
	c, _, _ := serve(t, &control.Server{Handlers: []control.Handler{
		echo.Handle(echoes),
		plain.Handle(func(context.Context, struct{}) (struct{}, error) { panic("no") }),
	}})
	if _, err := plain.Call(t.Context(), c, nothing); !errors.Is(err, core.Internal) {
		t.Errorf("a panic = %v, want Internal", err)
	}
	if _, err := echo.Call(t.Context(), c, nil); err != nil {
		t.Errorf("the call after a panic = %v", err)
	}
}

func TestStream(t *testing.T) {
	started, ended := make(chan struct{}, 1), make(chan struct{})
	c, _, _ := serve(t, &control.Server{Handlers: []control.Handler{
		count.Handle(func(_ context.Context, in counting, send func(int) error) error {
			for i := range in.To {
				if err := send(i); err != nil {
					return err
				}
			}
			return nil
		}),
		half.Handle(func(_ context.Context, _ struct{}, send func(string) error) error {
			return errors.Join(send("one"), whole)
		}),
		quiet.Handle(func(ctx context.Context, _ struct{}, _ func(string) error) error {
			started <- struct{}{}
			<-ctx.Done()
			close(ended)
			return ctx.Err()
		}),
	}})
	var numbers []int
	if err := count.Follow(t.Context(), c, counting{3}, func(n int) error { numbers = append(numbers, n); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{0, 1, 2}, numbers); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	var lines []string
	collect := func(line string) error { lines = append(lines, line); return nil }
	err := half.Follow(t.Context(), c, nothing, collect)
	if !errors.Is(err, core.Ambiguous) || len(lines) != 1 {
		t.Errorf("failing stream = %v after %d lines, want its error after 1", err, len(lines))
	}
	if err := control.Stream[struct{}, string]("none").Follow(t.Context(), c, nothing, collect); !errors.Is(err, core.NotFound) {
		t.Errorf("unknown stream = %v, want NotFound", err)
	}
	stop := errors.New("enough")
	if err := count.Follow(t.Context(), c, counting{1000}, func(int) error { return stop }); err != stop {
		t.Errorf("Follow = %v, want what f returned", err)
	}

	// A client that leaves ends a stream that has nothing to say.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- quiet.Follow(ctx, c, nothing, collect) }()
	<-started
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Follow after cancel = %v, want nil", err)
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
	c, _, stop := serve(t, &control.Server{Handlers: []control.Handler{quiet.Handle(func(ctx context.Context, _ struct{}, _ func(string) error) error {
		close(started)
		<-ctx.Done()
		return nil
	})}})
	done := make(chan error, 1)
	go func() { done <- quiet.Follow(t.Context(), c, nothing, func(string) error { return nil }) }()
	<-started
	stop()
	if err := <-done; err != nil {
		t.Errorf("Follow = %v, want its end", err)
	}
}
