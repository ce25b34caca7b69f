package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// logRecord is a line of the log.
type logRecord struct {
	line  string
	ours  bool // written by our logger; otherwise the rest is that of the record before
	at    time.Time
	level slog.Level
	attrs []logAttr // in order, with time, level and msg
}

type logAttr struct{ key, value string }

func (r *logRecord) get(key string) string {
	for _, x := range r.attrs {
		if x.key == key {
			return x.value
		}
	}
	return ""
}

// parseRecord reads a line of either format. What is not our logger's, as what
// the runtime says when it panics, belongs to the record before.
func parseRecord(line string, before logRecord) logRecord {
	r := logRecord{line: line, at: before.at, level: before.level}
	attrs, ok := parseText(line)
	if strings.HasPrefix(line, "{") {
		attrs, ok = parseJSONLine(line)
	}
	if ok && attrs[0].key == "time" {
		next := logRecord{line: line, ours: true, attrs: attrs}
		at, err := time.Parse(time.RFC3339Nano, attrs[0].value)
		if next.at = at; err == nil && next.level.UnmarshalText([]byte(next.get("level"))) == nil {
			return next
		}
	}
	if before.ours {
		r.level = slog.LevelInfo
	}
	for _, mark := range []string{"panic: ", "fatal error: ", "SIGQUIT: ", "unexpected fault address "} {
		if strings.HasPrefix(line, mark) {
			r.level = slog.LevelError
		}
	}
	return r
}

// parseText reads what slog.TextHandler writes.
func parseText(line string) ([]logAttr, bool) {
	var attrs []logAttr
	for rest := line; rest != ""; rest = strings.TrimPrefix(rest, " ") {
		key, after, ok := strings.Cut(rest, "=")
		if strings.HasPrefix(rest, `"`) { // a key that is quoted
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, false
			}
			key, _ = strconv.Unquote(quoted) // it is quoted
			after, ok = strings.CutPrefix(rest[len(quoted):], "=")
		}
		if !ok || key == "" {
			return nil, false
		}
		value, tail, _ := strings.Cut(after, " ")
		if strings.HasPrefix(after, `"`) {
			quoted, err := strconv.QuotedPrefix(after)
			if err != nil {
				return nil, false
			}
			value, _ = strconv.Unquote(quoted) // it is quoted
			tail = strings.TrimPrefix(after[len(quoted):], " ")
		}
		attrs = append(attrs, logAttr{key, value})
		rest = tail
	}
	return attrs, len(attrs) > 0
}

// parseJSONLine reads what slog.JSONHandler writes.
func parseJSONLine(line string) ([]logAttr, bool) {
	dec := jsontext.NewDecoder(strings.NewReader(line), jsontext.AllowDuplicateNames(true)) // an attribute may be named msg
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, false
	}
	var attrs []logAttr
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, false
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, false
		}
		text := string(value)
		if value.Kind() == '"' {
			if err := json.Unmarshal(value, &text); err != nil {
				return nil, false
			}
		}
		attrs = append(attrs, logAttr{key, text})
	}
	return attrs, len(attrs) > 0
}

// json is the record as one JSON object.
func (r *logRecord) json() string {
	if strings.HasPrefix(r.line, "{") && r.ours {
		return string(safeJSON([]byte(r.line)))
	}
	attrs := r.attrs
	if !r.ours {
		attrs = []logAttr{{"msg", r.line}}
	}
	var b bytes.Buffer
	enc := jsontext.NewEncoder(&b, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	tokens := []jsontext.Token{jsontext.BeginObject}
	for _, x := range attrs {
		tokens = append(tokens, jsontext.String(x.key), jsontext.String(x.value))
	}
	for _, t := range append(tokens, jsontext.EndObject) {
		if err := enc.WriteToken(t); err != nil {
			panic(err) // strings in an object
		}
	}
	return string(safeJSON(bytes.TrimSpace(b.Bytes())))
}

// logReader reads the files of a log from the oldest on, over rotations.
type logReader struct {
	path string
	file *os.File
	in   *bufio.Reader
	part []byte // of a line that is still being written
}

// openLogs begins with the oldest file. Without any, the error is fs.ErrNotExist.
func openLogs(path string) (*logReader, error) {
	r := &logReader{path: path}
	for n := oldLogs; n >= 0; n-- {
		f, err := os.Open(rotatedLog(path, n))
		if err == nil {
			r.begin(f)
			return r, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || n == 0 {
			return nil, err
		}
	}
	return nil, fs.ErrNotExist
}

func (r *logReader) begin(f *os.File) {
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.in, r.part = f, bufio.NewReader(f), nil
}

func (r *logReader) close() { r.file.Close() }

// maxLogLine bounds what one line takes in memory.
const maxLogLine = 1 << 20

// next gives the next line, or io.EOF where there is none yet.
func (r *logReader) next() (string, error) {
	for {
		text, err := r.in.ReadSlice('\n')
		if len(r.part)+len(text) <= maxLogLine {
			r.part = append(r.part, text...)
		}
		switch {
		case err == nil:
			line := strings.TrimRight(string(r.part), "\r\n")
			r.part = nil
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case !errors.Is(err, io.EOF):
			return "", err
		default:
			more, err := r.advance()
			if err != nil {
				return "", err
			}
			if !more {
				return "", io.EOF
			}
		}
	}
}

// advance goes on to the file after the one that is read to its end, and reports
// whether there is one, or more of this.
func (r *logReader) advance() (bool, error) {
	own, err := r.file.Stat()
	if err != nil {
		return false, err
	}
	for n := range oldLogs + 1 {
		info, err := os.Stat(rotatedLog(r.path, n))
		if err != nil || !os.SameFile(own, info) {
			continue
		}
		if n > 0 {
			return r.follow(n, own)
		}
		at, err := r.file.Seek(0, io.SeekCurrent)
		if err != nil || info.Size() >= at {
			return false, err
		}
		_, err = r.file.Seek(0, io.SeekStart) // somebody has emptied it
		r.in.Reset(r.file)
		r.part = nil
		return true, err
	}
	next, err := os.Open(r.path) // somebody has deleted ours
	if err != nil {
		return false, nil // not there yet
	}
	r.begin(next)
	return true, nil
}

// follow goes from the nth file, which was put aside, to the one after it.
func (r *logReader) follow(n int, own fs.FileInfo) (bool, error) {
	// It may have grown between its end and its rotation.
	if at, err := r.file.Seek(0, io.SeekCurrent); err != nil {
		return false, err
	} else if now, err := r.file.Stat(); err != nil || now.Size() > at {
		return err == nil, err
	}
	next, err := os.Open(rotatedLog(r.path, n-1))
	if err != nil {
		return false, nil // in the middle of a rotation
	}
	still, err := os.Stat(rotatedLog(r.path, n))
	if err != nil || !os.SameFile(own, still) {
		next.Close()
		return false, nil // rotated meanwhile: look again
	}
	r.begin(next)
	return true, nil
}

// logFilter says which records are shown. Zero fields show all.
type logFilter struct {
	level slog.Level
	since time.Time
	peer  []string // its names
}

func (f *logFilter) shows(r *logRecord) bool {
	if !r.ours && r.level < slog.LevelError && (f.level > slog.LevelDebug || !f.since.IsZero() || len(f.peer) > 0) {
		return false // such as what the daemon printed when it started
	}
	return r.level >= f.level && !r.at.Before(f.since) && (len(f.peer) == 0 || r.ours && slices.Contains(f.peer, r.get("peer")))
}

// logsEvery is how often a followed log is looked at.
const logsEvery = 200 * time.Millisecond

func logsCommand(a *app) *cobra.Command {
	var follow bool
	var since, peer, level string
	var lines int
	cmd := &cobra.Command{
		Use: "logs", Short: "Show the log of a gateway in the background", Args: cobra.NoArgs,
		Long: `Show the log that "ogp start --background" keeps in the state directory, over its
rotated files, as it is written. A gateway that runs as a service or on a terminal
logs elsewhere, and then this says where. With --json, each record is one JSON
object on a line of its own.

  ogp logs --level warn --since 24h
  ogp logs --follow --peer ben`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := logFilter{level: slog.LevelDebug}
			if level != "" && f.level.UnmarshalText([]byte(level)) != nil {
				return usagef("--level %q: want debug, info, warn or error", level)
			}
			if since != "" {
				var err error
				if f.since, err = parseSince(since); err != nil {
					return err
				}
			}
			if lines < 0 {
				return usagef("--lines %d: want 0 for all, or how many", lines)
			}
			if since != "" && !cmd.Flags().Changed("lines") {
				lines = 0
			}
			if peer != "" {
				f.peer = a.namesOf(cmd.Context(), peer)
			}
			return a.logs(cmd.Context(), f, lines, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	cmd.Flags().StringVar(&since, "since", "", "from the last 24h, 7d, ..., or from a time on")
	cmd.Flags().StringVar(&peer, "peer", "", "only what concerns this peer")
	cmd.Flags().StringVar(&level, "level", "", "only from this level on: debug, info, warn, error")
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "how many of the last lines; 0: all (default 100, with --since all)")
	return cmd
}

// namesOf are the names that a peer has in the log, now and before it got an
// alias. Where no daemon knows it, it is what the user has written.
func (a *app) namesOf(ctx context.Context, ref string) []string {
	p, err := api.Peer.Call(ctx, a, api.PeerRef{Peer: ref})
	if err != nil {
		return []string{ref}
	}
	return []string{p.Name, p.Fingerprint, p.ID, p.PublicKey.String()}
}

func (a *app) logs(ctx context.Context, f logFilter, lines int, follow bool) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, logFile)
	r, err := openLogs(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a.noLog(ctx, path)
	}
	if err != nil {
		return err
	}
	defer r.close()
	if s, err := api.Status.Call(ctx, a, api.None{}); err == nil && s.Log != path {
		fmt.Fprintf(a.err, "This is an older log. %s\n", whereLog(s))
	}
	var record logRecord
	var last []logRecord // that wait until we know how many there are
	live := false
	for {
		line, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			for _, x := range last[max(len(last)-lines, 0):] {
				a.logLine(&x)
			}
			if last, live = nil, true; !follow {
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(logsEvery):
			}
			continue
		case err != nil:
			return err
		}
		record = parseRecord(line, record)
		switch {
		case !f.shows(&record):
		case live || lines == 0:
			a.logLine(&record)
		default:
			if last = append(last, record); len(last) >= 2*lines {
				last = slices.Clone(last[len(last)-lines:])
			}
		}
	}
}

func (a *app) logLine(r *logRecord) {
	text := safeText(r.line)
	switch {
	case a.json:
		text = r.json()
	case r.level >= slog.LevelError:
		text = a.styled(a.out, "31", text)
	case r.level >= slog.LevelWarn:
		text = a.styled(a.out, "33", text)
	}
	fmt.Fprintln(a.out, text)
}

// noLog says where the log is if it is not in the state directory.
func (a *app) noLog(ctx context.Context, path string) error {
	e := core.Refusef(core.NotFound, "no log at %s", path)
	s, err := api.Status.Call(ctx, a, api.None{})
	if err != nil {
		e.Hint = "\"ogp start --background\" keeps one there; that of a service is shown by \"journalctl --user -u " + unitName + "\" or, of a system service, \"journalctl -u " + unitName + "\""
		return e
	}
	e.Hint = whereLog(s)
	return e
}

// The places that a daemon logs to, other than a file.
const (
	logJournal = "journal"
	logStderr  = "stderr"
)

func whereLog(s api.StatusView) string {
	switch s.Log {
	case logJournal:
		return fmt.Sprintf("The gateway (pid %d) logs to the journal: journalctl %s --since -1h -f", s.PID, cmp.Or(s.Unit, fmt.Sprintf("_PID=%d", s.PID)))
	case logStderr:
		return fmt.Sprintf("The gateway (pid %d) runs in the foreground, and logs to its standard error.", s.PID)
	}
	return fmt.Sprintf("The gateway (pid %d) logs to %s", s.PID, s.Log)
}

// logPlace is where this process logs to.
func (a *app) logPlace() string {
	switch {
	case a.log != nil:
		return a.log.path
	case a.inJournal():
		return logJournal
	}
	return logStderr
}

// logToFile puts the output of a daemon in the background into its log.
func (a *app) logToFile() error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	w, err := openLog(filepath.Join(dir, logFile), maxLogBytes, useAsOutput)
	if err != nil {
		return err
	}
	a.log, a.out, a.err = w, w, w
	return nil
}
