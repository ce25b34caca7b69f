package ogp_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
)

// TestConsole runs every console block of the documents that newcomers follow,
// in one shell each, and compares what comes with what is written there. What is
// different each time (fingerprints, ids, times) is compared by its form.
func TestConsole(t *testing.T) {
	if testing.Short() {
		t.Skip("short: starts real gateways")
	}
	if runtime.GOOS == "windows" {
		t.Skip("the transcripts are for a POSIX shell")
	}
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to run the transcripts in")
	}
	binary := filepath.Join(t.TempDir(), "ogp")
	if out, err := exec.Command("go", "build", "-o", binary, "./cmd/ogp").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, doc := range []string{"README.md", "docs/quickstart.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		steps := consoleSteps(string(text))
		if len(steps) == 0 {
			t.Errorf("%s has no console block", doc)
		}
		t.Run(filepath.Base(doc), func(t *testing.T) { runConsole(t, shell, binary, steps) })
	}
}

// consoleStep is one command of a block and the output that follows it.
type consoleStep struct {
	line    int
	command string
	want    string
}

func consoleSteps(text string) []consoleStep {
	var steps []consoleStep
	in := false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			in = !in && strings.TrimSpace(line) == "```console"
		case !in:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, consoleStep{line: i + 1, command: line[2:]})
		case len(steps) > 0:
			steps[len(steps)-1].want += line + "\n"
		}
	}
	return steps
}

var (
	portNumber = regexp.MustCompile(`\b187\d\d\b|\b300\d\b`)
	variable   = []struct {
		form *regexp.Regexp
		to   string
	}{
		{regexp.MustCompile(`[A-Z2-7]{4}(-[A-Z2-7]{4}){4}`), "<fingerprint>"},
		{regexp.MustCompile(`[a-z0-9]{6}(-[A-Z2-7]{4}){3,6}`), "<long code>"},
		{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
		{regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{24}\b`), "<id>"},
		{regexp.MustCompile(`302a300506032b6570032100[0-9a-f]{64}`), "<key>"},
		{regexp.MustCompile(`code: [a-z0-9]{6}\b`), "code: <code>"},
		{regexp.MustCompile(`accept [a-z0-9]{6}\b`), "accept <code>"},
		{regexp.MustCompile(`to [a-z0-9]{6}\.\.\.`), "to <code>..."},
		{regexp.MustCompile(`pid \d+`), "pid <n>"},
		{regexp.MustCompile(`\d+s ago`), "<n>s ago"},
		{regexp.MustCompile(`in \d+(\.\d+)? ?m?s\b`), "in <time>"},
		{regexp.MustCompile(`[ \t]+`), " "},
	}
)

func shape(text string) string {
	for _, v := range variable {
		text = v.form.ReplaceAllString(text, v.to)
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// freePorts gives a document's ports free ones of this machine.
func freePorts(t *testing.T, steps []consoleStep) func(string) string {
	free := map[string]string{}
	for _, s := range steps {
		for _, p := range portNumber.FindAllString(s.command+s.want, -1) {
			if free[p] == "" {
				free[p] = strconv.Itoa(ports.Free(t))
			}
		}
	}
	return func(text string) string {
		return portNumber.ReplaceAllStringFunc(text, func(p string) string { return free[p] })
	}
}

const consoleStepLimit = 60 * time.Second

func runConsole(t *testing.T, shell, binary string, steps []consoleStep) {
	// A socket's path is short, a test's directory need not be.
	dir, err := os.MkdirTemp("", "ogp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Symlink(binary, filepath.Join(dir, "ogp")); err != nil {
		t.Fatal(err)
	}
	local := freePorts(t, steps)
	cmd := exec.Command(shell, "--noprofile", "--norc")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "PATH=" + dir + ":" + os.Getenv("PATH"), "TMPDIR=" + dir, "LANG=C.UTF-8"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range daemons(binary) {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
		in.Close()
		cmd.Process.Kill()
		w.Close()
		cmd.Wait()
	})
	out := bufio.NewReader(r)
	for i, s := range steps {
		if strings.HasPrefix(s.command, "go build ") {
			continue // built already
		}
		mark := fmt.Sprintf("--- step %d done ---", i)
		fmt.Fprintf(in, "%s\necho '%s'\n", local(s.command), mark)
		got, err := readUntil(out, mark)
		if err != nil {
			t.Fatalf("line %d: $ %s\n%v; it had printed\n%s", s.line, s.command, err, got)
		}
		got = strings.ReplaceAll(got, dir+"/", "/home/you/")
		if want := shape(local(s.want)); shape(got) != want {
			t.Fatalf("line %d: $ %s\nprinted\n%s\nthe document says\n%s", s.line, s.command, shape(got), want)
		}
	}
}

func readUntil(out *bufio.Reader, mark string) (string, error) {
	var b bytes.Buffer
	done := make(chan error, 1)
	go func() {
		for {
			line, err := out.ReadString('\n')
			if err != nil || strings.TrimSpace(line) == mark {
				done <- err
				return
			}
			b.WriteString(line)
		}
	}()
	select {
	case err := <-done:
		return b.String(), err
	case <-time.After(consoleStepLimit):
		return "", fmt.Errorf("no end after %v", consoleStepLimit)
	}
}

// daemons finds what was started from a binary and is still running.
func daemons(binary string) []int {
	out, err := exec.Command("pgrep", "-f", binary).Output()
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
