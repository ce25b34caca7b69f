package sdk

import (
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/go-json-experiment/json"
)

// What a native run reads of [config] is what the gateway reads.
func TestConfigOf(t *testing.T) {
	for _, text := range []string{
		"", "name = \"x\"\n", "[config]\n", "[limits]\nfuel = 1\n[config]\nmax = 4_096 # bytes\nname = \"a\\n\\u00e9 # no\"\nraw = 'c:\\x'\non = true\n",
		"[config]\nlist = [\n \"a\", # one\n \"b\",\n]\nf = -1.5e3\nempty = []\nt = { a = 1, 'b c' = [true, {}] }\n\"q\" = 0\n[[selftest]]\nmax = 7\n", "[config]\r\nn = +5\r\n",
	} {
		var want struct {
			Config map[string]any `toml:"config"`
		}
		if err := toml.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		got, err := configOf(text)
		if err != nil {
			t.Errorf("configOf(%q) = %v", text, err)
			continue
		}
		plain := func(text []byte) string {
			var v map[string]any
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			out, _ := json.Marshal(v, json.Deterministic(true))
			return strings.Replace(string(out), "null", "{}", 1)
		}
		wanted, err := json.Marshal(want.Config)
		if err != nil {
			t.Fatal(err)
		}
		if g, w := plain([]byte(got.JSON())), plain(wanted); g != w {
			t.Errorf("configOf(%q) = %s, want %s", text, g, w)
		}
	}
	for text, want := range map[string]string{
		"[config]\na = \"\"\"\nx\"\"\"\n": "line 2: a native run cannot read a string of several lines", "[config]\na = 1979-05-27\n": "cannot read 1979-05-27", "[config]\na = [1 2]\n": "this list",
		"[config]\na.b = 1\n": "this name", "[config.x]\n": "a table within [config]", "[config]\na = \"x\n": "without an end", "[config]\na = 1 2\n": "what follows", "[config]\na =\n": "cannot read", "[config]\na": "this name", "[config]\n\"a": "without an end",
	} {
		if _, err := configOf(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("configOf(%q) = %v, want %s", text, err, want)
		}
	}
}

func FuzzConfigOf(f *testing.F) {
	f.Add("[config]\nlist = [\"a\", { b = 1 }]\n")
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := configOf(text); err == nil && v.Kind() != Map {
			t.Errorf("configOf(%q) = %s, want an object", text, v.JSON())
		}
	})
}
