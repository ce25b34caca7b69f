package control_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/gate"
)

// TestD1LocalSockets: whoever may open a socket cannot take all descriptors with it, and
// connections on which no whole call comes keep no caller out.
// docs/threat-model.md#d1
func TestD1LocalSockets(t *testing.T) {
	under := make(chan struct{}, 2*gate.Local())
	c, path, _ := serve(t, &control.Server{MaxBytes: 1 << 10, Handlers: []control.Handler{
		echo.Handle(echoes),
		waits.Handle(func(ctx context.Context, _ struct{}) (struct{}, error) {
			under <- struct{}{}
			<-ctx.Done()
			return nothing, ctx.Err()
		}),
	}})
	var quiet []net.Conn
	for i := range 2 * gate.Local() {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			io.WriteString(conn, "POST /v1/call/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
		}
		quiet = append(quiet, conn)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := c.Call(ctx, "echo", map[string]string{"a": "b"}, nil); err != nil {
		t.Fatalf("a call beside %d quiet connections = %v", len(quiet), err)
	}
	ended := 0
	for _, conn := range quiet {
		conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			ended++
		}
	}
	if ended < gate.Local() {
		t.Errorf("%d of %d quiet connections were ended, want all but %d", ended, len(quiet), gate.Local())
	}
	if err := c.Call(ctx, "echo", map[string]string{"a": strings.Repeat("b", 1<<10)}, nil); !errors.Is(err, core.TooLarge) {
		t.Errorf("a call that is too long = %v, want TooLarge", err)
	}

	// Where all are at work, one more is told so.
	working, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range gate.Local() - gate.Local()/8 {
		wg.Go(func() { _ = c.Call(working, "wait", nil, nil) })
	}
	for range gate.Local() - gate.Local()/8 {
		<-under
	}
	if err := c.Call(ctx, "echo", nil, nil); !errors.Is(err, core.Unavailable) {
		t.Errorf("one call too many = %v, want Unavailable", err)
	}
	stop()
	wg.Wait()
}

// TestTurnedAway: a daemon that takes no more calls says so whenever its answer comes, also
// before the call was written.
func TestTurnedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), control.SocketName)
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	full := gate.New(ln, gate.Options{Max: 16, PerAddress: 1, Logger: slog.New(slog.DiscardHandler)})
	var kept sync.WaitGroup
	kept.Go(func() {
		for {
			c, err := full.Accept()
			if err != nil {
				return
			}
			c.(*gate.Conn).Waits(false) // at work
			defer c.Close()
		}
	})
	defer kept.Wait()
	defer full.Close()
	for range 14 { // seven eighths
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for range 200 {
		if err := control.Dial(path).Call(t.Context(), "echo", nil, nil); !errors.Is(err, core.Unavailable) {
			t.Fatalf("a call = %v, want Unavailable", err)
		}
	}
}
