package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
)

const (
	ruleA = "[[rules]]\nname = \"a\"\nwhen = 'true'\nthen = \"hold\"\n"
	ruleB = "[[rules]]\nname = \"b\"\nwhen = \"\"\"\n  message.text == \"[[rules]]\"\n\"\"\"\nthen = \"deny\"\n"
)

func TestRulesKeepTheRest(t *testing.T) {
	for _, c := range []struct{ name, text, rules, want string }{
		{"empty file", "", ruleA, ruleA},
		{"at the end", "email = \"x\"", ruleA, "email = \"x\"\n\n" + ruleA},
		{"in their place", "email = \"x\" # mine\n\n" + ruleA + "\n[log]\nlevel = \"info\" # two\n", ruleB, "email = \"x\" # mine\n\n" + ruleB + "\n[log]\nlevel = \"info\" # two\n"},
		{"several for one", ruleA + "\n" + ruleB + "\n# of the log\n[log]\n", ruleB, ruleB + "\n# of the log\n[log]\n"},
		{"apart", ruleA + "\n[log]\nlevel = \"info\"\n\n" + ruleB, ruleB, ruleB + "\n[log]\nlevel = \"info\"\n\n"},
		{"their comments stay", "# of a\n[[rules]] # here\nname = \"a\" # why\n# when it holds\nwhen = 'true'\nthen = \"hold\"\n", ruleA, "# of a\n# here\n# why\n# when it holds\n" + ruleA},
		{"comments that were edited along stay once", "# of a\n" + ruleA, "# of a\n" + ruleB, "# of a\n" + ruleB},
		{"a comment in a text is none", "[[rules]]\nname = \"a\"\nwhen = 'message.text == \"# no\"'\nthen = \"hold\"\n", ruleB, ruleB},
		{"a commented rule stays", "#[[rules]]\n#name = \"x\"\n\n" + ruleA, ruleB, "#[[rules]]\n#name = \"x\"\n\n" + ruleB},
		{"windows", strings.ReplaceAll("a = 1\n"+ruleA, "\n", "\r\n"), strings.ReplaceAll(ruleA+ruleA, "\n", "\r\n"), strings.ReplaceAll("a = 1\n"+ruleA+ruleA, "\n", "\r\n")},
		{"none any more", "a = 1\n" + ruleA + "[log]\n", "", "a = 1\n[log]\n"},
		{"none before and none after", "a = 1\n", "  \n", "a = 1\n"},
	} {
		got, err := Rules([]byte(c.text), c.rules)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
		if again, err := Rules(got, c.rules); err != nil || string(again) != string(got) {
			t.Errorf("%s, again: %q, %v, want %q", c.name, again, err, got)
		}
	}
	for text, rules := range map[string]string{
		"rules = [{name = \"a\"}]": ruleA, // inline
		"broken =":                 ruleA,
		"a = 1":                    "email = \"x\"",
		"b = 1":                    "[policy]\nrecord = \"0s\"\n" + ruleA,
		"c = 1":                    "rules = [{name = \"a\"}]",
		"d = 1":                    "[[rules",
		"e = 1":                    "[rules]\nname = \"a\"",
	} {
		if got, err := Rules([]byte(text), rules); err == nil {
			t.Errorf("%q with %q became %q, want an error", text, rules, got)
		}
	}
	got, err := RulesIn([]byte("a = 1 # no\r\n\r\n# of a\r\n" + ruleA + "\n[log]\n" + ruleB))
	if err != nil || got != "# of a\n"+ruleA+"\n"+ruleB {
		t.Errorf("RulesIn = %q, %v", got, err)
	}
	example := []byte(config.Example())
	if got, err := Rules(example, ruleA); err != nil || !strings.HasPrefix(string(got), string(example)) {
		t.Errorf("the example did not stay: %v", err)
	}
}

func TestWriteRules(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, config.FileName)
	o := config.Options{Home: dir, Env: []string{}}
	const before = "email = \"a@b\" # mine\n"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	has := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Fatalf("the file has %q, %v, want %q", got, err, want)
		}
	}
	var problems config.Problems
	if _, err := WriteRules(o, path, strings.Replace(ruleA, "true", "tru", 1), false); !errors.As(err, &problems) || !strings.Contains(err.Error(), path+":5: rule \"a\": when: column 1") {
		t.Errorf("a rule with a mistake: %v", err)
	}
	has(before)
	if _, err := WriteRules(o, path, ruleA, true); err != nil {
		t.Error(err)
	}
	has(before)
	undo, err := WriteRules(o, path, ruleA, false)
	if err != nil {
		t.Fatal(err)
	}
	has(before + "\n" + ruleA)
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	has(before)
	if undo, err = WriteRules(o, path, ruleA, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("# by hand\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	has("# by hand\n") // what a person has written since stays
	if _, err := WriteRules(o, filepath.Join(dir, config.FormerName), ruleA, false); !errors.Is(err, core.Unsupported) {
		t.Errorf("config.json: %v, want Unsupported", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if undo, err = WriteRules(o, path, ruleA, false); err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
