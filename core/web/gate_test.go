package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
)

// safeLog is a log that a test reads while it is written.
type safeLog struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// slow is a request that takes until a test ends it.
type slow struct{ begun, end chan struct{} }

func serveApp(t *testing.T, o Options, ln net.Listener, slow *slow) (*App, *safeLog) {
	t.Helper()
	log := &safeLog{}
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	app := New(o)
	app.Fiber.Get("/ok", func(c *fiber.Ctx) error { return JSON(c, 200, true) })
	app.Fiber.Get("/slow", func(c *fiber.Ctx) error { slow.begun <- struct{}{}; <-slow.end; return JSON(c, 200, true) })
	app.Fiber.Post("/echo", func(c *fiber.Ctx) error { return JSON(c, 200, len(Body(c))) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	})
	return app, log
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func dialIt(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(60 * time.Second))
	return c
}

// get asks on a connection and returns the status, 0 for a closed connection.
func get(c net.Conn, path string) int {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// failing is a listener whose first calls fail.
type failing struct {
	net.Listener
	left atomic.Int32
	err  error
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", f.err)}
	}
	return f.Listener.Accept()
}

func TestD1AcceptErrorsAreWaitedOut(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		ln := &failing{Listener: listen(t), err: err}
		ln.left.Store(7)
		_, log := serveApp(t, Options{}, ln, nil)
		if got := get(dialIt(t, ln.Addr().String()), "/ok"); got != 200 {
			t.Errorf("after %v: status %d, want 200", err, got)
		}
		want := 1
		if err == syscall.ECONNABORTED {
			want = 0
		}
		if n := strings.Count(log.String(), "no file descriptor is left"); n != want {
			t.Errorf("%v: said %d times, want %d: %s", err, n, want, log)
		}
	}
	ln := &failing{Listener: listen(t), err: syscall.EINVAL}
	ln.left.Store(1)
	if err := New(Options{}).Serve(t.Context(), ln); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Serve with a broken listener = %v, want its error", err)
	}
}

// Connections that say nothing keep nobody out: the one that is quiet for longest
// goes.
func TestD1QuietConnectionsMakeRoom(t *testing.T) {
	ln := listen(t)
	serveApp(t, Options{MaxConns: 8}, ln, nil)
	addr := ln.Addr().String()
	var quiet []net.Conn
	for range 40 {
		quiet = append(quiet, dialIt(t, addr))
	}
	waiting := dialIt(t, addr)
	for range 3 { // and neither do those that wait for their next request
		if got := get(waiting, "/ok"); got != 200 {
			t.Fatalf("beside 40 quiet connections: status %d, want 200", got)
		}
	}
	for range 40 {
		quiet = append(quiet, dialIt(t, addr))
	}
	if got := get(dialIt(t, addr), "/ok"); got != 200 {
		t.Errorf("a new connection: status %d, want 200", got)
	}
	closed := 0
	for _, c := range quiet {
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if closed < 72 {
		t.Errorf("%d of 80 quiet connections were closed, want all but the limit of 8", closed)
	}
}

// Nor do those that send a request, and never the end of it.
func TestD1SlowRequestsMakeRoom(t *testing.T) {
	ln := listen(t)
	serveApp(t, Options{MaxConns: 8}, ln, nil)
	addr := ln.Addr().String()
	for _, begin := range []string{"GET /ok HTTP/1.1\r\nHost: a\r\n", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"} {
		for range 40 {
			io.WriteString(dialIt(t, addr), begin)
		}
		for range 3 {
			if got := get(dialIt(t, addr), "/ok"); got != 200 {
				t.Fatalf("beside 40 of %.8q: status %d, want 200", begin, got)
			}
		}
	}
}

func TestD1BusyIs503(t *testing.T) {
	ln, slow := listen(t), &slow{make(chan struct{}), make(chan struct{})}
	_, log := serveApp(t, Options{MaxConns: 8}, ln, slow)
	addr := ln.Addr().String()
	var busy sync.WaitGroup
	for range 7 { // seven eighths: all that loopback gets
		c := dialIt(t, addr)
		busy.Go(func() {
			if got := get(c, "/slow"); got != 200 {
				t.Errorf("a request in work: status %d, want 200", got)
			}
		})
	}
	for range 7 { // until they are in work
		<-slow.begun
	}
	if got := get(dialIt(t, addr), "/ok"); got != 503 && got != 0 {
		t.Errorf("beyond the limit: status %d, want 503 or a closed connection", got)
	}
	r, err := http.ReadResponse(bufio.NewReader(dialIt(t, addr)), nil)
	if err != nil || r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("beyond the limit: %v, %v, want 503 with Retry-After", r, err)
	}
	close(slow.end)
	busy.Wait()
	if n := strings.Count(log.String(), "the connection limit is reached"); n != 1 {
		t.Errorf("said %d times, want once: %s", n, log)
	}
}

// A body takes what has come of it, not what its head announces.
func TestD6SlowBodies(t *testing.T) {
	const conns = 400
	ln := listen(t)
	serveApp(t, Options{}, ln, nil)
	before := inUse()
	for range conns {
		c := dialIt(t, ln.Addr().String())
		fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", DefaultMaxBodyBytes)
	}
	time.Sleep(500 * time.Millisecond) // until all have been read
	each := (inUse() - before) / conns
	t.Logf("%d bytes for each of %d slow bodies", each, conns)
	if each > 40<<10 { // 200 MiB at 5,000, the client's end included
		t.Errorf("a slow body takes %d bytes, want at most 40 KiB", each)
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

func TestD6LongBodiesAreBoundedTogether(t *testing.T) {
	ln := listen(t)
	app, _ := serveApp(t, Options{BodyMemory: 100 << 10}, ln, nil)
	addr := ln.Addr().String()
	long := fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", DefaultMaxBodyBytes, strings.Repeat("x", DefaultMaxBodyBytes-1))
	slow := dialIt(t, addr)
	io.WriteString(slow, long)
	for deadline := time.Now().Add(60 * time.Second); app.bodies.taken.Load() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // until all of it is read
	second := dialIt(t, addr)
	io.WriteString(second, long)
	if r, err := http.ReadResponse(bufio.NewReader(second), nil); err == nil && r.StatusCode != 503 {
		t.Errorf("beyond the bound: status %d, want 503", r.StatusCode)
	}
	short := dialIt(t, addr)
	fmt.Fprintf(short, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 3000\r\n\r\n%s", strings.Repeat("x", 3000))
	if r, err := http.ReadResponse(bufio.NewReader(short), nil); err != nil || r.StatusCode != 200 {
		t.Errorf("a short body beside it: %v, %v, want 200", r, err)
	}
	io.WriteString(slow, "x")
	if r, err := http.ReadResponse(bufio.NewReader(slow), nil); err != nil || r.StatusCode != 200 {
		t.Errorf("the long body: %v, %v, want 200", r, err)
	}
}
