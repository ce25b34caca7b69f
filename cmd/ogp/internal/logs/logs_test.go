package logs

import (
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"

	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// everyRecord writes the same records in a format of slog.
func everyRecord(w io.Writer, format string) {
	log := daemon.NewLogger(w, format, slog.LevelDebug)
	log.Debug("first", "peer", "ben")
	log.Info("with spaces", "peer", "a b", "quoted key", `"x" = y`)
	log.Warn("line\nend", "err", errors.New("broken pipe"), "n", 3, "ok", true, "empty", "")
	log.Error("last", "took", time.Second, "peer", "日本語")
}

// TestRecordsOfBothFormats reads back what slog writes.
func TestRecordsOfBothFormats(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		everyRecord(&out, format)
		var got []string
		var r logRecord
		for line := range strings.Lines(out.String()) {
			r = parseRecord(strings.TrimSuffix(line, "\n"), r)
			if time.Since(r.at) > time.Minute || !r.ours {
				t.Errorf("%s: %q: at %v, ours %v", format, line, r.at, r.ours)
			}
			got = append(got, fmt.Sprint(r.level, r.attrs[2:]))
			text := r.json()
			again := parseRecord(text, logRecord{})
			if !again.at.Equal(r.at) || again.level != r.level || !slices.Equal(again.attrs, r.attrs) {
				t.Errorf("%s: %q as JSON is %q, which reads as %v", format, line, text, again)
			}
		}
		want := []string{
			"DEBUG [{msg first} {peer ben}]",
			`INFO [{msg with spaces} {peer a b} {quoted key "x" = y}]`,
			"WARN [{msg line\nend} {err broken pipe} {n 3} {ok true}]",
			map[string]string{"text": "ERROR [{msg last} {took 1s} {peer 日本語}]", "json": "ERROR [{msg last} {took 1000000000} {peer 日本語}]"}[format],
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
	}
}

// TestLinesThatAreNoRecords belong to the record before; a panic is an error.
func TestLinesThatAreNoRecords(t *testing.T) {
	var r logRecord
	for _, x := range []struct {
		line  string
		ours  bool
		level slog.Level
	}{
		{"  Card         http://localhost", false, slog.LevelInfo},
		{`time=2026-01-02T03:04:05Z level=WARN msg=look`, true, slog.LevelWarn},
		{"something else", false, slog.LevelInfo},
		{"panic: runtime error", false, slog.LevelError},
		{"goroutine 1 [running]:", false, slog.LevelError},
		{"", false, slog.LevelError},
		{`time=2026-01-02T03:04:06Z level=INFO msg=again`, true, slog.LevelInfo},
		{`time="`, false, slog.LevelInfo}, {`{"time":`, false, slog.LevelInfo}, {`{}`, false, slog.LevelInfo}, {`=`, false, slog.LevelInfo},
	} {
		r = parseRecord(x.line, r)
		if r.ours != x.ours || r.level != x.level {
			t.Errorf("%q: ours %v, level %v, want %v, %v", x.line, r.ours, r.level, x.ours, x.level)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		everyRecord(&out, format)
		for line := range strings.Lines(out.String()) {
			f.Add(strings.TrimSuffix(line, "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := parseRecord(line, logRecord{})
		if text := r.json(); strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("%q as JSON is %q", line, text)
		}
	})
}

// readAll reads lines until there are none yet.
func readAll(t *testing.T, r *logReader) (lines []string) {
	t.Helper()
	for {
		line, err := r.next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
}

// TestLogReaderFollowsRotation reads every line once while the log is rotated
// between its looks, often and seldom.
func TestLogReaderFollowsRotation(t *testing.T) {
	for _, every := range []int{1, 3, 7, 40} { // lines between two looks; 10 fit in a file
		path := filepath.Join(t.TempDir(), daemon.LogFile)
		w, err := openLog(path, 100, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer w.file.Close()
		var want, got []string
		var r *logReader
		for i := range 400 {
			line := fmt.Sprintf("line %03d", i)
			want = append(want, line)
			fmt.Fprintln(w, line)
			if r == nil {
				if r, err = openLogs(path); err != nil {
					t.Fatal(err)
				}
				defer r.close()
			}
			if i%every == 0 {
				got = append(got, readAll(t, r)...)
			}
		}
		got = append(got, readAll(t, r)...)
		if !slices.Equal(got, want) {
			t.Errorf("a look every %d lines: read %d of %d, want each once and in order", every, len(got), len(want))
		}
	}
}

func TestLogWriterKeepsSoMany(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, daemon.LogFile)
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := openLog(path, 100, nil) // full already
	if err != nil {
		t.Fatal(err)
	}
	defer w.file.Close()
	for i := range 100 {
		fmt.Fprintf(w, "line %03d of twenty\n", i)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1+oldLogs {
		t.Errorf("files %q, %v, want %d", files, err, 1+oldLogs)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 100 || info.Size() == 0 {
			t.Errorf("%s: %v bytes, %v, want up to 100", f, info.Size(), err)
		}
	}
	r, err := openLogs(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if lines := readAll(t, r); lines[len(lines)-1] != "line 099 of twenty" || len(lines) < 5*oldLogs {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

func TestLogReaderAfterTruncation(t *testing.T) {
	path := filepath.Join(t.TempDir(), daemon.LogFile)
	write := func(text string, flags int) {
		f, err := os.OpenFile(path, flags|os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fmt.Fprint(f, text)
	}
	write("one\ntwo\nthr", os.O_TRUNC)
	r, err := openLogs(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if got := readAll(t, r); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("read %q, want the whole lines", got)
	}
	write("ee\n", os.O_APPEND)
	if got := readAll(t, r); !slices.Equal(got, []string{"three"}) {
		t.Errorf("read %q, want the line that is whole now", got)
	}
	write("new\n", os.O_TRUNC) // copytruncate
	if got := readAll(t, r); !slices.Equal(got, []string{"new"}) {
		t.Errorf("read %q after a truncation", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, r); got != nil {
		t.Errorf("read %q of a deleted file", got)
	}
	write("another\n", os.O_TRUNC)
	if got := readAll(t, r); !slices.Equal(got, []string{"another"}) {
		t.Errorf("read %q of the file that took its place", got)
	}
}

const panicsInto = "OGP_TEST_PANICS_INTO"

// TestHelperPanics is run in a process of its own: it logs over rotations, and
// then panics.
func TestHelperPanics(t *testing.T) {
	path := os.Getenv(panicsInto)
	if path == "" {
		return
	}
	w, err := openLog(path, 400, useAsOutput)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		daemon.NewLogger(w, "text", slog.LevelInfo).Info("so far so good", "n", i)
	}
	done := make(chan struct{})
	go func() { defer close(done); panic("in the night") }()
	<-done
}

// TestPanicsLandInTheLog shows that what the runtime says is in the newest file,
// although the log was rotated since the process began.
func TestPanicsLandInTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), daemon.LogFile)
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperPanics$")
	cmd.Env = append(os.Environ(), panicsInto+"="+path)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Fatalf("the process ended with %v:\n%s", err, out)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "panic: in the night") || !strings.Contains(string(text), "goroutine ") {
		t.Errorf("%v, the newest log is:\n%s\nand the output:\n%s", err, text, out)
	}
	if _, err := os.Stat(rotatedLog(path, 1)); err != nil {
		t.Errorf("the log was not rotated: %v", err)
	}
}

func TestLogFilter(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	warn := parseRecord(`time=2026-01-02T03:04:05Z level=WARN msg=look peer=ben`, logRecord{})
	banner := parseRecord("  Card  x", warn)
	panicked := parseRecord("panic: x", warn)
	for _, x := range []struct {
		name   string
		filter logFilter
		want   string // of warn, banner, panicked
	}{
		{"all", logFilter{level: slog.LevelDebug}, "true true true"},
		{"warn", logFilter{level: slog.LevelWarn}, "true false true"},
		{"error", logFilter{level: slog.LevelError}, "false false true"},
		{"then", logFilter{level: slog.LevelDebug, since: at}, "true false true"},
		{"after", logFilter{level: slog.LevelDebug, since: at.Add(1)}, "false false false"},
		{"ben", logFilter{level: slog.LevelDebug, peer: []string{"K", "ben"}}, "true false false"},
		{"ada", logFilter{level: slog.LevelDebug, peer: []string{"ada"}}, "false false false"},
	} {
		if got := fmt.Sprint(x.filter.shows(&warn), x.filter.shows(&banner), x.filter.shows(&panicked)); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
}

func TestWhereLog(t *testing.T) {
	for _, x := range []struct {
		view api.StatusView
		want string
	}{
		{api.StatusView{PID: 7, Log: daemon.LogJournal, Unit: "--user -u ogp.service"}, "journalctl --user -u ogp.service --since -1h -f"},
		{api.StatusView{PID: 7, Log: daemon.LogJournal}, "journalctl _PID=7 "},
		{api.StatusView{PID: 7, Log: daemon.LogStderr}, "(pid 7) runs in the foreground"},
		{api.StatusView{PID: 7, Log: "/x/daemon.log"}, "logs to /x/daemon.log"},
	} {
		if got := whereLog(x.view); !strings.Contains(got, x.want) {
			t.Errorf("%q, want %q in it", got, x.want)
		}
	}
}
