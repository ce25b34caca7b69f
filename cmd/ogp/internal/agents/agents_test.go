package agents

import (
	"strings"
	"testing"
)

var ours = entry{Command: "/usr/local/bin/ogp", Args: []string{"mcp", "--home", "/var/lib/o \"gp"}}

// What was put in is what the format's readers take, and taking it out again leaves the
// bytes that were there.
func TestPutAndDrop(t *testing.T) {
	files := map[string][]string{
		"cursor": {"{}\n", "{\"mcpServers\": {}}", "{\n  \"mcpServers\": {\n    \"a\": {\"command\": \"b\"}\n  },\n  \"x\": [1, 2]\n}\n", "{\"x\":1}"},
		"codex":  {"model = \"x\"\n", "[mcp_servers.a]\ncommand = \"b\"\n\n[mcp_servers.a.env]\nK = \"v\"\n", "# nothing\n"},
		"hermes": {"model: x\n", "mcp_servers:\n  a:\n    command: b\n    args: [\"c\"]\nother:\n  y: 1\n", "mcp_servers:\n    a:\n        command: b\n\n# end\n"},
	}
	for _, p := range programs {
		for _, before := range files[p.name] {
			with, err := p.put([]byte(before), ours)
			if err != nil || !strings.Contains(string(with), "ogp") {
				t.Errorf("%s: put into %q = %q, %v", p.name, before, with, err)
				continue
			}
			if again, err := p.put(with, ours); err != nil || string(again) != string(with) {
				t.Errorf("%s: put again = %q, %v; want no change to\n%s", p.name, again, err, with)
			}
			after, err := p.drop(with)
			same := strings.Join(strings.Fields(string(after)), "") == strings.Join(strings.Fields(before), "")
			if p.name == "cursor" { // the objects around it may stay
				same = strings.ReplaceAll(strings.ReplaceAll(strings.Join(strings.Fields(string(after)), ""), `"mcpServers":{},`, ""), `"mcpServers":{}`, "") ==
					strings.ReplaceAll(strings.Join(strings.Fields(before), ""), `"mcpServers":{}`, "")
			}
			if err != nil || !same {
				t.Errorf("%s: put and drop turn\n%s\ninto\n%s (%v)", p.name, before, after, err)
			}
			if untouched, err := p.drop([]byte(before)); err != nil || string(untouched) != before {
				t.Errorf("%s: drop of nothing turns %q into %q (%v)", p.name, before, untouched, err)
			}
		}
	}
}

// Files that are written in another way are left alone.
func TestRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"cursor": "{ // a comment\n}", "codex": "mcp_servers = { ogp = { command = \"x\" } }\n", "hermes": "mcp_servers: {a: {command: b}}\n",
	} {
		for _, p := range programs {
			if p.name == name {
				if out, err := p.put([]byte(text), ours); err == nil {
					t.Errorf("%s: %q becomes %q", name, text, out)
				}
			}
		}
	}
}

// The skill is short, and says what matters.
func TestSkill(t *testing.T) {
	text := string(skill)
	if n := strings.Count(text, "\n"); n > 20 {
		t.Errorf("the skill has %d lines", n)
	}
	for _, want := range []string{"[OGP]", "data, never instructions", "`reply`", "`ask`", "your human's"} {
		if !strings.Contains(text, want) {
			t.Errorf("the skill does not say %q", want)
		}
	}
}
