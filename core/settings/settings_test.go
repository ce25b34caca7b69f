package settings

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core/config"
)

func TestSetTOMLChangesOneLine(t *testing.T) {
	for _, c := range []struct{ name, text, key, value, want string }{
		{"empty file", "", "email", "a@b", "email = \"a@b\"\n"},
		{"empty file, table", "", "rendezvous.url", "x", "[rendezvous]\nurl = \"x\"\n"},
		{"its value", "email = 'x' # mine\nlisten = \"\"\n", "email", "a@b", "email = \"a@b\" # mine\nlisten = \"\"\n"},
		{"quoted key", "\"email\"='x'", "email", "a", "\"email\"=\"a\""},
		{"a value of several lines", "email = \"\"\"x\ny\\\"\"\"\"\"\nlisten = \"\"", "email", "a", "email = \"a\"\nlisten = \"\""},
		{"its comment", "# a\n#email = \"\"\n\n[log]\n#email = \"\"\n", "email", "a", "# a\nemail = \"a\"\n\n[log]\n#email = \"\"\n"},
		{"the comment of its table", "#url = \"\"\n[rendezvous]\n# url = \"\"\n[tls]\n", "rendezvous.url", "a", "#url = \"\"\n[rendezvous]\nurl = \"a\"\n[tls]\n"},
		{"no comment in a string", "human_name = '''\n#email = 1\n'''\n", "email", "a", "human_name = '''\n#email = 1\n'''\nemail = \"a\"\n"},
		{"after the header", "[rendezvous] # r\nenabled = true", "rendezvous.url", "a", "[rendezvous] # r\nurl = \"a\"\nenabled = true"},
		{"dotted", "rendezvous.enabled = true", "rendezvous.url", "a", "rendezvous.enabled = true\nrendezvous.url = \"a\"\n"},
		{"inline", "rendezvous = {enabled=true, url = \"b\"}", "rendezvous.url", "a", "rendezvous = {enabled=true, url = \"a\"}"},
		{"inline, new", "rendezvous = {enabled=true}", "rendezvous.url", "a", "rendezvous = { url = \"a\",enabled=true}"},
		{"inline, empty", "rendezvous = {}", "rendezvous.url", "a", "rendezvous = { url = \"a\"}"},
		{"before the tables", "[log]\nlevel = \"info\"\n", "email", "a", "email = \"a\"\n[log]\nlevel = \"info\"\n"},
		{"not in an agent's", "[[agents]]\n#email = \"\"\nid = \"main\"\n", "email", "a", "email = \"a\"\n[[agents]]\n#email = \"\"\nid = \"main\"\n"},
		{"windows", "listen = \"\"\r\n[rendezvous]\r\n", "rendezvous.url", "a", "listen = \"\"\r\n[rendezvous]\r\nurl = \"a\"\r\n"},
		{"nasty", "", "email", "a\"\\\n\u007f", "email = \"a\\\"\\\\\\u000A\\u007F\"\n"},
	} {
		got, err := TOML([]byte(c.text), Setting{Key: c.key, Value: c.value})
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	for _, text := range []string{"rendezvous = 1", "[[rendezvous]]\nurl = 'x'", "email = "} {
		if got, err := TOML([]byte(text), Setting{Key: "rendezvous.url", Value: "a"}); err == nil {
			t.Errorf("%q became %q, want an error", text, got)
		}
	}
}

// drawTOML draws a file that has comments, tables in many forms, and our keys or not.
func drawTOML(t *rapid.T) string {
	word := rapid.StringMatching(`[a-z#="' \[\]{}]{0,8}`)
	quoted := func() string {
		switch w := word.Draw(t, "text"); rapid.IntRange(0, 3).Draw(t, "form") {
		case 0:
			return config.TOMLString(w)
		case 1:
			return "'" + strings.ReplaceAll(w, "'", "") + "'"
		case 2:
			return `"""` + "\n#email = 'no'\n" + strings.ReplaceAll(w, `"`, `\"`) + `"""`
		default:
			return "'''" + strings.ReplaceAll(w, "'", "") + "\n[rendezvous]\n'''"
		}
	}
	value := func() string {
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			return "true"
		case 1:
			return "0x1F"
		case 2:
			return "[ " + quoted() + ", # ]\n " + quoted() + " ]"
		case 3:
			return "{ a = " + config.TOMLString(word.Draw(t, "inner")) + " }"
		}
		return quoted()
	}
	end := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end")
	var b strings.Builder
	junk := func(n string) {
		for i := range rapid.IntRange(0, 3).Draw(t, "lines") {
			switch rapid.IntRange(0, 3).Draw(t, "line") {
			case 0:
				fmt.Fprintf(&b, "k%s%d = %s # %s%s", n, i, value(), strings.Map(printable, word.Draw(t, "comment")), end)
			case 1:
				b.WriteString("#" + rapid.SampledFrom([]string{"email = \"\"", " url = \"x\"", "enabled = false", "", " plain"}).Draw(t, "commented") + end)
			case 2:
				b.WriteString(end)
			default:
				fmt.Fprintf(&b, "  \"q.%s%d\"\t=%s%s", n, i, value(), end)
			}
		}
	}
	junk("a")
	if rapid.Bool().Draw(t, "has email") {
		b.WriteString("email = " + quoted() + end)
	}
	form := rapid.IntRange(0, 3).Draw(t, "rendezvous")
	switch form {
	case 1:
		b.WriteString("rendezvous.enabled = false" + end)
	case 2:
		b.WriteString("rendezvous = { enabled = true, x = [{y='}'}] }" + end)
	}
	junk("b")
	for i := range rapid.IntRange(0, 2).Draw(t, "agents") {
		b.WriteString("[[agents]]" + end)
		junk(fmt.Sprintf("c%d", i))
	}
	if form == 3 {
		b.WriteString("[ rendezvous ] # email = 1" + end)
		junk("d")
	}
	b.WriteString("[other]" + end)
	junk("e")
	return strings.TrimSuffix(b.String(), rapid.SampledFrom([]string{"", end}).Draw(t, "cut"))
}

// valueAt is a value in nested tables, or nil.
func valueAt(table map[string]any, key string) any {
	for {
		name, rest, more := strings.Cut(key, ".")
		if !more {
			return table[name]
		}
		table, _ = table[name].(map[string]any)
		key = rest
	}
}

func printable(r rune) rune {
	if r == '\n' {
		return ' '
	}
	return r
}

func TestSetTOMLLeavesTheRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawTOML(t)
		var before map[string]any
		if err := toml.Unmarshal([]byte(text), &before); err != nil {
			t.Fatalf("the drawn file is bad: %v\n%s", err, text)
		}
		s := Setting{Key: rapid.SampledFrom([]string{"email", "gateway_url", "rendezvous.url", "other.x"}).Draw(t, "key"), Value: rapid.StringMatching(`[a-z"\\#é]{0,6}`).Draw(t, "value")}
		if rapid.Bool().Draw(t, "bool") {
			s = Setting{Key: "rendezvous.enabled", Value: rapid.Bool().Draw(t, "value")}
		}
		got, err := TOML([]byte(text), s)
		if err != nil {
			t.Fatalf("TOML = %v in\n%s", err, text)
		}
		var was, after map[string]any
		if err := toml.Unmarshal([]byte(text), &was); err != nil {
			t.Fatal(err)
		}
		if err := toml.Unmarshal(got, &after); err != nil {
			t.Fatal(err)
		}
		if !putValue(before, strings.Split(s.Key, "."), s.Value) || !reflect.DeepEqual(before, after) {
			t.Fatalf("values %v, want %v", after, before)
		}
		// All but one piece is as it was: what is common at both ends covers the text,
		// but for the old value or the one comment that went.
		front := 0
		for front < len(text) && front < len(got) && text[front] == got[front] {
			front++
		}
		back := 0
		for back < len(text)-front && back < len(got)-front && text[len(text)-1-back] == got[len(got)-1-back] {
			back++
		}
		gone, old := text[front:len(text)-back], fmt.Sprint(valueAt(was, s.Key))
		if strings.Contains(gone, "\n") && !strings.Contains(old, "\n") {
			t.Fatalf("more than one line went: %q of\n%s", gone, text)
		}
		// Again, it changes nothing.
		again, err := TOML(got, s)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("again: %q, %v, want %q", again, err, got)
		}
	})
}

func TestSetTOMLKeepsTheExample(t *testing.T) {
	text := []byte(config.Example())
	for _, s := range []Setting{{Key: "display_name", Value: "Ada"}, {Key: "rendezvous.enabled", Value: true}, {Key: "rendezvous.url", Value: "https://r.example"}, {Key: "gateway_url", Value: "https://a.example"}} {
		got, err := TOML(text, s)
		if err != nil {
			t.Fatal(err)
		}
		old, lines := strings.Split(string(text), "\n"), strings.Split(string(got), "\n")
		changed := 0
		for i := range min(len(old), len(lines)) {
			if old[i] != lines[i] {
				changed++
			}
		}
		want := 1
		if s.Key == "rendezvous.enabled" {
			want = 2 // the header of its table was a comment
		}
		if len(old) != len(lines) || changed != want {
			t.Errorf("%s: %d of %d lines changed, want %d of %d", s.Key, changed, len(lines), want, len(old))
		}
		text = got
	}
}

func TestSetJSONLeavesTheRest(t *testing.T) {
	const text = `{
  "displayName": "Alice",   "x": {"email": 1},
  "rendezvous": { "enabled": false }
}
`
	for _, c := range []struct {
		set  Setting
		want string
	}{
		{Setting{Key: "display_name", Value: "Ada \"A\""}, strings.Replace(text, `"Alice"`, `"Ada \"A\""`, 1)},
		{Setting{Key: "email", Value: "a@b"}, strings.Replace(text, "{\n", "{\n  \"email\": \"a@b\",\n", 1)},
		{Setting{Key: "rendezvous.enabled", Value: true}, strings.Replace(text, "false", "true", 1)},
		{Setting{Key: "rendezvous.url", Value: "u"}, strings.Replace(text, `{ "enabled"`, "{\n  \"url\": \"u\", \"enabled\"", 1)},
	} {
		got, err := JSON([]byte(text), c.set)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v, want %q", c.set.Key, got, err, c.want)
		}
	}
	got, err := JSON([]byte("{}"), Setting{Key: "rendezvous.url", Value: "u"})
	var read map[string]any
	if err != nil || json.Unmarshal(got, &read) != nil || !reflect.DeepEqual(read, map[string]any{"rendezvous": map[string]any{"url": "u"}}) {
		t.Errorf("in an empty object: %q, %v", got, err)
	}
	if _, err := JSON([]byte(text), Setting{Key: "log.level", Value: "info"}); err == nil {
		t.Error("a Setting that config.json does not have was set")
	}
}

// What a flag, or "ogp config set", gives is written as the type of its setting, and
// taken away again it leaves the other lines alone.
func TestParseAndUnset(t *testing.T) {
	for _, c := range []struct{ key, text, line string }{
		{"gateway_url", "https://a.example", `gateway_url = "https://a.example"`},
		{"daemon_port", "18791", "daemon_port = 18791"},
		{"rendezvous.enabled", "yes", "enabled = true"},
		{"network.allow_private", "10.0.0.0/8,fd00::/8", `allow_private = ["10.0.0.0/8", "fd00::/8"]`},
		{"inbox.keep", "30d", `keep = "30d"`},
		{"plugins.mine.enabled", "false", "enabled = false"},
		{"plugins.mine.path", "/a b.wasm", `path = "/a b.wasm"`},
	} {
		s, err := Parse(c.key, c.text)
		if err != nil {
			t.Errorf("%s: %v", c.key, err)
			continue
		}
		const mine = "# mine\nemail = \"a@b\" # and this\n"
		set, err := TOML([]byte(mine), s)
		if err != nil || !strings.Contains("\n"+string(set), "\n"+c.line+"\n") || !strings.Contains(string(set), mine) {
			t.Errorf("%s: %q, %v, want a line %q and all before", c.key, set, err, c.line)
		}
		unset, err := TOML(set, Setting{Key: c.key})
		if err != nil || !strings.Contains(string(unset), "\n#"+c.line+"\n") || !strings.Contains(string(unset), mine) {
			t.Errorf("%s unset: %q, %v", c.key, unset, err)
		}
	}
	for key, text := range map[string]string{"daemon_port": "many", "gatway_url": "https://a.example", "agents": "x"} {
		if s, err := Parse(key, text); err == nil {
			t.Errorf("%s = %s is %v, want an error", key, text, s)
		}
	}
	if got, err := TOML([]byte("a = 1\nlist = [\n  1,\n  2,\n] # x\n"), Setting{Key: "list"}); err != nil || string(got) != "a = 1\n#list = [\n#  1,\n#  2,\n#] # x\n" {
		t.Errorf("a list over lines: %q, %v", got, err)
	}
}

// A file that cannot be written is named as itself, before anything else is done.
func TestWritableNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if err := Writable(filepath.Join(dir, "new", "config.toml")); err != nil {
		t.Errorf("a folder that is made with the file: %v", err)
	}
	if err := Writable(filepath.Join(dir, "config.toml")); err != nil {
		t.Errorf("a folder of ours: %v", err)
	}
	blocked := filepath.Join(dir, "file") // also for root, whom no mode keeps out
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(blocked, "config.toml")
	for name, err := range map[string]error{
		"Writable": Writable(path),
		"Write":    Write([]string{}, dir, path, []Setting{{Key: "email", Value: "a@b"}}),
	} {
		if err == nil || !strings.Contains(err.Error(), path) && name == "Writable" || strings.Contains(err.Error(), ".try-") {
			t.Errorf("%s = %v, want an error that names %s", name, err, path)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}
