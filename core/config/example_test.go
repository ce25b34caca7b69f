package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write config.example.toml")

const examplePath = "../../config.example.toml"

var (
	commentedKey   = regexp.MustCompile(`(?m)^#([a-z0-9_]+ = .*)$`)
	commentedTable = regexp.MustCompile(`(?m)^#(\[.*\])$`)
)

// uncomment takes away the "#" before every value and table.
func uncomment(text string) string {
	return commentedTable.ReplaceAllString(commentedKey.ReplaceAllString(text, "$1"), "$1")
}

func readExample(t *testing.T) string {
	t.Helper()
	if *update {
		if err := os.WriteFile(examplePath, []byte(Example()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExampleIsWhatTheStructSays(t *testing.T) {
	if got, want := readExample(t), Example(); got != want {
		t.Errorf("config.example.toml differs from Config; go test ./core/config -run Example -update writes it\n%s", got)
	}
}

func TestExampleHasEveryKeyWithItsDefault(t *testing.T) {
	text := readExample(t)
	if c, origins, _ := mustLoad(t, Options{Home: home(t, "config.toml", text)}); len(origins) != 0 {
		t.Errorf("as it stands it sets %v of %+v, want nothing", origins, c)
	}
	c, origins, _ := mustLoad(t, Options{Home: home(t, "config.toml", uncomment(text))})
	for _, s := range Settings() {
		if origins.Of(s.Key).Layer != LayerFile && s.Key != "plugins" {
			t.Errorf("%s is missing", s.Key)
		}
	}
	for _, typ := range []struct {
		prefix string
		reflect.Type
	}{{"agents[0].", reflect.TypeFor[Agent]()}, {"rules[0].", reflect.TypeFor[Rule]()}, {"plugins.example.", reflect.TypeFor[PluginConfig]()}, {"plugins.example.grants.", reflect.TypeFor[PluginGrants]()}} {
		for name, f := range byName(typ.Type) {
			if _, ok := origins[typ.prefix+name]; !ok && !isTable(f.Type) {
				t.Errorf("%s%s is missing", typ.prefix, name)
			}
		}
	}
	want := Default()
	want.DisplayName = c.DisplayName
	want.Agents, want.Rules, want.Plugins = c.Agents, c.Rules, c.Plugins
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("its values are %+v\nwant the defaults %+v", *c, want)
	}
	if p := c.Plugins["example"]; !p.IsEnabled() || p.Config["from"] != int64(9) {
		t.Errorf("the example plugin is %+v", p)
	}
}

func TestExampleTellsUnitsAndMeanings(t *testing.T) {
	text := readExample(t)
	for _, s := range Settings() {
		if !strings.Contains(text, "# "+s.Doc) {
			t.Errorf("%s: its meaning is missing", s.Key)
		}
		if s.Env != "" && !strings.Contains(text, "("+s.Unit+")\n") {
			t.Errorf("%s: its unit %q is missing", s.Key, s.Unit)
		}
	}
}

// Whoever pastes a TOML block of our docs into the file that the first start writes
// gets what it says.
func TestDocsCanBePastedIntoTheFirstFile(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	deploying, err := filepath.Glob("../../docs/deploying/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(append(pages, deploying...), "../../README.md")
	block := regexp.MustCompile("(?ms)^```toml\n(.*?)^```")
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			if manifest.MatchString(m[1]) {
				continue
			}
			found++
			if _, _, _, err := Load(Options{Home: home(t, "config.toml", Example()+"\n"+m[1]), Env: []string{}}); err != nil {
				t.Errorf("%s:\n%s\n%v", page, m[1], err)
			}
		}
	}
	if found < 8 {
		t.Errorf("%d blocks found: they are not read any more", found)
	}
}

// manifest is a plugin.toml, or a case of its tests: no settings.
var manifest = regexp.MustCompile(`(?m)^(name|abi|hooks|\[\[selftest\]\]|\[input\]|\[\[http\]\]|http|\[config\])`)
