package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// ogp is a command line of this binary as the program, in an environment of its
// own.
func ogpCommand(t *testing.T, home string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(home, "ogp") // testscript tells the program by its name
	if err := os.Symlink(self, link); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	cmd := exec.Command(link, args...)
	cmd.Env = append([]string{"HOME=" + home, "OGP_HOME=" + filepath.Join(home, "state"), "PATH=" + os.Getenv("PATH"), "TZ=UTC"}, env...)
	return cmd
}

// startDaemon starts a daemon and waits until it answers.
func startDaemon(t *testing.T, home string, env ...string) (*exec.Cmd, api.StatusView) {
	t.Helper()
	cmd := ogpCommand(t, home, env, "start", "--daemon-port", "0", "--listen", "127.0.0.1", "--display-name", "Ada")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	client := control.Dial(control.Path(filepath.Join(home, "state")))
	var v api.StatusView
	for deadline := time.Now().Add(patience); client.Call(t.Context(), "status", nil, &v) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the daemon does not answer")
		}
	}
	return cmd, v
}

// TestWatchedStatusOnATerminal is drawn in place, with colours unless NO_COLOR
// forbids them, and leaves the terminal as it was.
func TestWatchedStatusOnATerminal(t *testing.T) {
	home := t.TempDir()
	startDaemon(t, home)
	term := newTerminal(t, 60, 10)
	cmd := ogpCommand(t, home, []string{"TERM=xterm"}, "status", "--watch")
	cmd.Stdout, cmd.Stderr = term.slave, term.slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text := term.await(t, screenHome, 2)
	if !strings.HasPrefix(text, screenOpen) || !strings.Contains(text, "\x1b[1mGateway") || !strings.Contains(text, "Ada, running since") {
		t.Errorf("the first picture is %q", text)
	}
	if strings.Contains(text, "…\x1b[K") {
		t.Error("the mark of a cut line stands in the last cell, and is cleared")
	}
	if picture, _, _ := strings.Cut(strings.TrimPrefix(text, screenOpen+screenHome), screenRest); strings.Count(picture, "\n") != 9 || !strings.Contains(picture, "…") {
		t.Errorf("%d lines on a screen of 10: %q", strings.Count(picture, "\n"), picture)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v, want exit status 0", err)
	}
	if text := term.await(t, screenClose, 1); !strings.HasSuffix(text, screenClose) {
		t.Errorf("the terminal was left with %q", text[max(len(text)-60, 0):])
	}

	plain := newTerminal(t, 200, 50)
	cmd = ogpCommand(t, home, []string{"TERM=xterm", "NO_COLOR=1"}, "status")
	cmd.Stdout, cmd.Stderr = plain.slave, plain.slave
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if text := plain.await(t, "Note", 1); strings.Contains(text, "\x1b") {
		t.Errorf("NO_COLOR, and yet %q", text)
	}
}

// TestTableOnATerminal cuts rows at its width, which a pipe does not.
func TestTableOnATerminal(t *testing.T) {
	header, rows := []string{"ID", "TEXT"}, [][]string{{"01JABCDEFG", strings.Repeat("日本", 40)}}
	screen := newTerminal(t, 40, 50)
	term.Table(screen.slave, header, rows)
	text := screen.await(t, "…", 1)
	if _, row, _ := strings.Cut(text, "\r\n"); runewidth.StringWidth(strings.TrimSpace(row)) > 40 || !strings.HasPrefix(row, "01JABCDEFG  日本") {
		t.Errorf("on a terminal of 40 cells: %q", row)
	}
	var pipe bytes.Buffer
	term.Table(&pipe, header, rows)
	if !strings.Contains(pipe.String(), rows[0][1]) {
		t.Errorf("in a pipe: %q", pipe.String())
	}
}
