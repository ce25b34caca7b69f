//go:build unix

package web

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// With no descriptor left, what comes is closed and not left waiting, and what comes
// after is served.
func TestD1NoDescriptorLeft(t *testing.T) {
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	_, log := serveApp(t, Options{MaxConns: 1000}, ln, nil)
	if got := get(dialIt(t, ln.Addr().String()), "/ok"); got != 200 {
		t.Fatalf("status %d, want 200", got)
	}
	low := was
	low.Cur = 80
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)
	var hogs []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		hogs = append(hogs, f)
	}
	hogs[0].Close() // for the client's end
	c, err := net.DialTimeout("tcp", ln.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got := get(c, "/ok"); got != 0 {
		t.Errorf("without a descriptor: status %d, want a closed connection", got)
	}
	for _, f := range hogs[1:] {
		f.Close()
	}
	c2, err := net.DialTimeout("tcp", ln.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	c2.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got := get(c2, "/ok"); got != 200 {
		t.Errorf("afterwards: status %d, want 200: %s", got, log)
	}
	if n := strings.Count(log.String(), "no file descriptor is left"); n != 1 {
		t.Errorf("said %d times, want once: %s", n, log)
	}
}
