package agents

import (
	"bytes"
	"cmp"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/pelletier/go-toml/v2"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/settings"
)

// entry is how a program starts our tools.
type entry struct {
	Command string   `json:"command"`
	Args    []string `json:"args"`
}

// edit is what becomes of one file. A nil text is no file.
type edit struct {
	path          string
	before, after []byte
	secret        string // that the difference must not show
}

// program is one that agents run in.
type program struct {
	name, title string
	file        func(a *cli.App) string // its settings
	put         func(text []byte, e entry) ([]byte, error)
	drop        func(text []byte) ([]byte, error)
	// byHand is what its user can do where the file is not edited by a program.
	byHand func(e entry) string
	more   func(a *cli.App, r record, edits []edit, remove bool) ([]edit, error) // nil: there is no more
}

// programs are all, by name.
var programs = []program{
	{name: "openclaw", title: "OpenClaw", file: func(a *cli.App) string { return openclaw.File(a.Env) },
		put: putJSON("mcp", "servers", "ogp"), drop: dropJSON("mcp", "servers", "ogp"), more: openclawMore,
		byHand: func(e entry) string {
			text, _ := json.Marshal(e) // two strings
			return "openclaw mcp set ogp " + cli.Quoted(string(text))
		}},
	{name: "claude-code", title: "Claude Code", file: inHome("CLAUDE_CONFIG_DIR", "", ".claude.json"),
		put: putJSON("mcpServers", "ogp"), drop: dropJSON("mcpServers", "ogp"),
		byHand: func(e entry) string { return "claude mcp add --scope user ogp -- " + e.line() }},
	{name: "codex", title: "Codex", file: inHome("CODEX_HOME", ".codex", "config.toml"), put: putTOML, drop: dropTOML,
		byHand: func(e entry) string { return "codex mcp add ogp -- " + e.line() }},
	{name: "cursor", title: "Cursor", file: inHome("", ".cursor", "mcp.json"), put: putJSON("mcpServers", "ogp"), drop: dropJSON("mcpServers", "ogp"),
		byHand: func(e entry) string {
			return "add a server of the command " + e.line() + " in Cursor's settings, under MCP"
		}},
	{name: "hermes", title: "Hermes", file: inHome("HERMES_HOME", ".hermes", "config.yaml"), put: putYAML, drop: dropYAML,
		byHand: func(e entry) string {
			return "under mcp_servers add the server ogp with the command " + e.Command + " and args " + strings.Join(e.Args, " ")
		}},
}

func (e entry) line() string { return cli.Quoted(append([]string{e.Command}, e.Args...)...) }

// inHome is a file below the user's directory, or in one that a variable names.
func inHome(variable, dir, file string) func(*cli.App) string {
	return func(a *cli.App) string {
		if variable != "" && a.Getenv(variable) != "" {
			return filepath.Join(a.Getenv(variable), file)
		}
		return filepath.Join(cmp.Or(a.Getenv("HOME"), a.Getenv("USERPROFILE")), dir, file)
	}
}

func putJSON(path ...string) func([]byte, entry) ([]byte, error) {
	return func(text []byte, e entry) ([]byte, error) {
		if len(bytes.TrimSpace(text)) == 0 {
			text = []byte("{}\n")
		}
		if !jsontext.Value(text).IsValid() {
			return nil, errNotPlain
		}
		if old, ok := memberOf(text, path); ok {
			if fresh, err := json.Marshal(e); err == nil && sameJSON(old, fresh) {
				return text, nil
			}
		}
		return settings.PlaceJSON(text, path, e)
	}
}

func dropJSON(path ...string) func([]byte) ([]byte, error) {
	return func(text []byte) ([]byte, error) {
		if len(bytes.TrimSpace(text)) == 0 {
			return text, nil
		}
		if !jsontext.Value(text).IsValid() {
			return nil, errNotPlain
		}
		return settings.RemoveJSON(text, path)
	}
}

var errNotPlain = errors.New("it is not plain JSON")

// memberOf is a member of a JSON text.
func memberOf(text []byte, path []string) (jsontext.Value, bool) {
	v := jsontext.Value(text)
	for _, name := range path {
		var o map[string]jsontext.Value
		if json.Unmarshal(v, &o) != nil || o[name] == nil {
			return nil, false
		}
		v = o[name]
	}
	return v, true
}

func sameJSON(a, b jsontext.Value) bool {
	a, b = bytes.Clone(a), bytes.Clone(b)
	return a.Canonicalize() == nil && b.Canonicalize() == nil && bytes.Equal(a, b)
}

// codexTable is our table in Codex's settings, to the next table or the end.
var codexTable = regexp.MustCompile(`(?m)^\n?\[mcp_servers\.ogp\][ \t]*\n(?:[^\[\n][^\n]*\n|\n)*`)

func putTOML(text []byte, e entry) ([]byte, error) {
	out, err := dropTOML(text)
	if err != nil {
		return nil, err
	}
	if len(out) > 0 {
		out = append(bytes.TrimRight(out, "\n"), "\n\n"...)
	}
	args := make([]any, len(e.Args))
	for i, s := range e.Args {
		args[i] = s
	}
	return fmt.Appendf(out, "[mcp_servers.ogp]\ncommand = %s\nargs = %s\n", settings.Setting{Value: e.Command}.Literal(), settings.Setting{Value: args}.Literal()), nil
}

func dropTOML(text []byte) ([]byte, error) {
	var all map[string]any
	if err := toml.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	out := codexTable.ReplaceAll(append(bytes.Clone(text), missingNewline(text)...), nil)
	all = nil
	if err := toml.Unmarshal(out, &all); err != nil {
		return nil, err
	}
	if servers, ok := all["mcp_servers"].(map[string]any); ok && servers["ogp"] != nil {
		return nil, errors.New("its server ogp is not written as a table of its own")
	}
	return out, nil
}

func missingNewline(text []byte) string {
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		return "\n"
	}
	return ""
}

var (
	hermesServers = regexp.MustCompile(`(?m)^mcp_servers:[ \t]*(?:\{\}[ \t]*)?(?:#.*)?\n`)
	hermesAny     = regexp.MustCompile(`(?m)^mcp_servers[ \t]*:`)
	hermesChild   = regexp.MustCompile(`^\n*( +)\S`)
)

func putYAML(text []byte, e entry) ([]byte, error) {
	text, err := dropYAML(text)
	if err != nil {
		return nil, err
	}
	at := hermesServers.FindIndex(text)
	if at == nil {
		if hermesAny.Match(text) {
			return nil, errors.New("its mcp_servers are not written as a block")
		}
		text = append(text, "mcp_servers:\n"...)
		at = []int{0, len(text)}
	}
	in := "  "
	if m := hermesChild.FindSubmatch(text[at[1]:]); m != nil {
		in = string(m[1])
	}
	args, err := json.Marshal(e.Args) // JSON's strings and lists are YAML's, too
	if err != nil {
		return nil, err
	}
	command, err := json.Marshal(e.Command)
	if err != nil {
		return nil, err
	}
	head := bytes.ReplaceAll(text[:at[1]], []byte("mcp_servers: {}"), []byte("mcp_servers:"))
	block := fmt.Sprintf("%sogp:\n%[1]s%[1]scommand: %s\n%[1]s%[1]sargs: %s\n", in, command, args)
	return append(append(bytes.Clone(head), block...), text[at[1]:]...), nil
}

// dropYAML takes our server out of the block of servers.
func dropYAML(text []byte) ([]byte, error) {
	text = append(bytes.Clone(text), missingNewline(text)...)
	at := hermesServers.FindIndex(text)
	if at == nil {
		return text, nil
	}
	var out bytes.Buffer
	out.Write(text[:at[1]])
	ours, within, others := "", true, false
	for _, line := range bytes.SplitAfter(text[at[1]:], []byte("\n")) {
		indent := len(line) - len(bytes.TrimLeft(line, " "))
		blank := len(bytes.TrimSpace(line)) == 0
		within = within && (blank || indent > 0)
		switch {
		case ours != "" && within && (blank || indent > len(ours)):
			continue
		case within && strings.TrimSpace(string(line)) == "ogp:":
			ours = string(line[:indent])
			continue
		case within && !blank:
			others = true
		}
		ours = ""
		out.Write(line)
	}
	if !others && !bytes.Contains(text[at[0]:at[1]], []byte("{}")) { // an empty block would be null
		rest := out.Bytes()[at[1]:]
		return append(bytes.Clone(text[:at[0]]), rest...), nil
	}
	return out.Bytes(), nil
}

//go:embed SKILL.md
var skill []byte

// openclawMore is what OpenClaw needs beside the tools: to hear of what comes, and to know
// what to make of it. What it had before is in the record, so that it can be put back.
func openclawMore(a *cli.App, r record, edits []edit, remove bool) ([]edit, error) {
	path := filepath.Join(filepath.Dir(openclaw.File(a.Env)), "skills", "ogp", "SKILL.md")
	before, err := files.ReadText(path, maxSettings)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	own := &edits[0]
	hooks := []struct {
		path  []string
		value any
	}{{[]string{"hooks", "enabled"}, true}, {[]string{"hooks", "token"}, rand.Text()}}
	for _, h := range hooks {
		name := strings.Join(h.path, ".")
		old, there := memberOf(own.after, h.path)
		switch {
		case remove:
			if was, ours := r[name]; ours && was == "" {
				own.after, err = settings.RemoveJSON(own.after, h.path)
			} else if ours {
				own.after, err = settings.PlaceJSON(own.after, h.path, jsontext.Value(was))
			}
			delete(r, name)
		case there && string(old) != "false" && string(old) != `""`:
		default:
			if _, kept := r[name]; !kept {
				r[name] = string(old)
			}
			own.after, err = settings.PlaceJSON(own.after, h.path, h.value)
			if text, ok := h.value.(string); ok {
				own.secret = text
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if remove {
		return append(edits, edit{path: path, before: before}), nil
	}
	return append(edits, edit{path: path, before: before, after: skill}), nil
}
