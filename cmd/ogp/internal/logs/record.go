package logs

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
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
		return string(term.SafeJSON([]byte(r.line)))
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
	return string(term.SafeJSON(bytes.TrimSpace(b.Bytes())))
}
