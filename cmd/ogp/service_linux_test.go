package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSystemdHearsOfUs starts a daemon as systemd does, with a socket to notify
// and a watchdog, and wants to hear that it is ready, lives, reloads and stops.
func TestSystemdHearsOfUs(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// next waits for a state, and lets signs of life go by.
	next := func(want string) string {
		t.Helper()
		buf := make([]byte, 1024)
		for {
			if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			state := string(buf[:n])
			if strings.HasPrefix(state, want) {
				return state
			}
			if state != "WATCHDOG=1" {
				t.Fatalf("systemd hears %q, want %s", state, want)
			}
		}
	}
	cmd, _ := startDaemon(t, home, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=400000")
	next("READY=1")
	next("WATCHDOG=1")
	next("WATCHDOG=1")

	var before unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &before); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	_, at, ok := strings.Cut(next("RELOADING=1"), "\nMONOTONIC_USEC=")
	if micros, err := strconv.ParseInt(at, 10, 64); !ok || err != nil || micros < before.Nano()/1000 {
		t.Errorf("it reloads at %q, want after %d on the monotonic clock", at, before.Nano()/1000)
	}
	next("READY=1")

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	next("STOPPING=1")
	if state, err := cmd.Process.Wait(); err != nil || state.ExitCode() != 0 {
		t.Errorf("after SIGTERM: %v, %v, want exit status 0", state, err)
	}
	if _, err := os.Stat(filepath.Join(home, "state", "ogp.sock")); !os.IsNotExist(err) {
		t.Errorf("the control socket is left behind: %v", err)
	}
}
