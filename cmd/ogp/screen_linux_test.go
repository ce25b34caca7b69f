package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal, and what was written to it.
type terminal struct {
	slave  *os.File
	master *os.File      // what a person types is written here
	done   chan struct{} // closed when no program has the terminal open any more

	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func newTerminal(t *testing.T, width, height uint16) *terminal {
	t.Helper()
	x, err := openTerminal(width, height)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.close)
	return x
}

func openTerminal(width, height uint16) (*terminal, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	fd, n := int(master.Fd()), 0
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height})
	}
	x := &terminal{master: master, done: make(chan struct{})}
	if err == nil {
		x.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, err
	}
	go func() {
		defer close(x.done)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			x.mu.Lock()
			x.text.Write(buf[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return x, nil
}

func (x *terminal) close() {
	x.slave.Close()
	x.master.Close()
}

// end waits until all that was written has arrived, and returns it.
func (x *terminal) end() string {
	x.slave.Close()
	select {
	case <-x.done:
	case <-time.After(patience):
	}
	return x.String()
}

func (x *terminal) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.String()
}

func (x *terminal) await(t *testing.T, want string, times int) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		text := x.String()
		if strings.Count(text, want) >= times {
			return text
		}
		if time.Now().After(deadline) {
			t.Fatalf("the terminal does not show %q %d times, but %q", want, times, text)
		}
	}
}

// press types keys.
func (x *terminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := x.master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// settle waits until what was typed shows: something new has come since there was so much,
// and then nothing for a while. Keys that come faster are drawn as one change, which need
// not show what was in between.
func (x *terminal) settle(t *testing.T, shown int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for quiet := 0; quiet < 20; time.Sleep(10 * time.Millisecond) {
		switch n := len(x.String()); {
		case n > shown:
			shown, quiet = n, 1
		case quiet > 0:
			quiet++
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing comes of what was typed: %q", x.String())
		}
	}
}

func init() { moreCommands["screen"] = screenCmd }

// screen <width> [NAME=value...] args...: runs ogp on a terminal of this width. What the
// terminal shows is the standard output.
func screenCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: screen width [NAME=value...] args...")
	}
	width, err := strconv.ParseUint(args[0], 10, 16)
	ts.Check(err)
	env, args := append([]string{"TERM=xterm"}, sceneOf(ts).env...), args[1:]
	for len(args) > 0 && strings.Contains(args[0], "=") {
		env, args = append(env, args[0]), args[1:]
	}
	x, err := openTerminal(uint16(width), 50)
	ts.Check(err)
	defer x.close()
	path, err := lookPath(ts.Getenv("PATH"), "ogp")
	ts.Check(err)
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, ts.MkAbs("."), x.slave, x.slave, x.slave
	if err := cmd.Run(); err != nil {
		ts.Fatalf("ogp %s: %v\n%s", strings.Join(args, " "), err, x.end())
	}
	fmt.Fprint(ts.Stdout(), strings.ReplaceAll(x.end(), "\r\n", "\n"))
}

// TestInitOnATerminal holds that an e-mail address is checked for what it is, and that
// Shift+Tab leaves a field that is not right.
func TestInitOnATerminal(t *testing.T) {
	home := t.TempDir()
	x := newTerminal(t, 100, 40)
	cmd := ogpCommand(t, home, []string{"TERM=xterm"}, "init")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.slave, x.slave, x.slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	const wrong, clear = "an address such as ada@example.org, or nothing", "\x15"
	for _, step := range []struct {
		shows string
		times int
		press string
	}{
		{"What is this gateway called?", 1, clear + "Ada\r"},
		{"Your e-mail address?", 1, "nonsense\r"},
		{wrong, 1, "\x1b[Z"}, // Shift+Tab
		{"What is this gateway called?", 2, clear + "Eve\r"},
		{"Your e-mail address?", 2, "\r"},
		{wrong, 2, clear + "eve@example.org\r"},
		{"How do others reach this machine?", 1, "\r"},
		{"Register with a rendezvous?", 1, "n"},
		{"Start the gateway now?", 1, "n"},
	} {
		shown := len(x.await(t, step.shows, step.times))
		x.press(t, step.press)
		if step.shows != "Start the gateway now?" { // after that it ends
			x.settle(t, shown)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %q", err, x.end())
	}
	text, err := os.ReadFile(filepath.Join(home, "state", "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\ndisplay_name = \"Eve\"\n", "\nemail = \"eve@example.org\"\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("config.toml lacks %q", want)
		}
	}
}
