package files

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// short is a listener without descriptors for some calls; then it is closed.
type short struct {
	net.Listener
	failures int
	taken    bool
}

func (s *short) Addr() net.Addr { return &net.UnixAddr{Name: "ogp.sock", Net: "unix"} }

func (s *short) Accept() (net.Conn, error) {
	if s.failures > 0 {
		s.failures--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	if !s.taken {
		s.taken = true
		c, _ := net.Pipe()
		return c, nil
	}
	return nil, net.ErrClosed
}

func TestD1PatientWaitsAndSaysSoOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ln := Patient(&short{failures: 100}, slog.New(slog.NewTextHandler(&log, nil)))
		if c, err := ln.Accept(); err != nil || c == nil {
			t.Fatalf("Accept = %v, %v, want the connection", c, err)
		}
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept of a closed listener = %v", err)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 2 {
			t.Errorf("%d lines in the log, want the start and the end:\n%s", lines, &log)
		}
	})
}
