package nesting_test

import (
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/titanous/json5"

	"github.com/opengatewayprotocol/ogp/core/nesting"
)

func TestTOML(t *testing.T) {
	deep := func(open, close string, n int) string { return strings.Repeat(open, n) + strings.Repeat(close, n) }
	for name, c := range map[string]struct {
		text string
		want string // in the error; empty: none
	}{
		"a million brackets":           {"a=" + strings.Repeat("[", 1<<20), "1048578 bytes, at most 65536"},
		"60,000 brackets":              {"x = 1\na=" + strings.Repeat("[", 60_000), "line 2: nested deeper than 64"},
		"65 arrays":                    {"a=" + deep("[", "]", 65), "nested deeper"},
		"64 arrays":                    {"a=" + deep("[", "]", 64), ""},
		"inline tables":                {"a=" + strings.Repeat("{a=", 65) + "1" + strings.Repeat("}", 65), "nested deeper"},
		"brackets in strings":          {`a = "` + strings.Repeat("[", 1000) + `"`, ""},
		"brackets in literal strings":  {`a = '` + strings.Repeat("[", 1000) + `\'`, ""},
		"brackets in long strings":     {"a = \"\"\"\n\\\"\"\"\\\"" + strings.Repeat("[", 1000) + "\"\"\"\"\"\nb = 1", ""},
		"brackets in comments":         {"# \"" + strings.Repeat("[", 1000) + "\na = 1", ""},
		"closers in strings":           {"a = [" + strings.Repeat(`"]", [`, 65), "nested deeper"},
		"closers in comments":          {"a = " + strings.Repeat("[ # ]\n", 65), "line 65: nested deeper"},
		"a hash in a string":           {"a = [" + strings.Repeat("'#', [", 65), "nested deeper"},
		"many tables":                  {strings.Repeat("[[a]]\nb = [1, 2]\n", 3000), ""},
		"a dotted key of 65 parts":     {strings.Repeat("a.", 64) + "a = 1", "a key of more than 64 parts"},
		"a dotted header of 65 parts":  {"[" + strings.Repeat("'a' . ", 64) + "a]", "a key of more than 64 parts"},
		"a dotted key of 64 parts":     {strings.Repeat("a.", 63) + "a = 1.5", ""},
		"dots in text":                 {"a = '" + strings.Repeat(".", 1000) + "'", ""},
		"floats":                       {"a = [" + strings.Repeat("1.5, ", 1000) + "]", ""},
		"what never ends":              {`a = "`, ""},
		"what never ends, three times": {`a = '''[`, ""},
	} {
		err := nesting.TOML([]byte(c.text), nesting.MaxBytes)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestJSON5(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		deep bool
	}{
		"arrays":              {strings.Repeat("[", 65), true},
		"objects":             {strings.Repeat(`{a:`, 65), true},
		"64":                  {strings.Repeat("[", 64), false},
		"in strings":          {`{"a":"` + strings.Repeat("[", 100) + `"}`, false},
		"in single quotes":    {`{'a\'':'` + strings.Repeat("[", 100) + `'}`, false},
		"in comments":         {"/* " + strings.Repeat("[", 100) + "\n*/ // " + strings.Repeat("[", 100) + "\n{}", false},
		"closers in comments": {strings.Repeat("[ /* ] */", 65), true},
		"a slash alone":       {"/" + strings.Repeat("[", 65), true},
		"dots":                {strings.Repeat(".", 100), false},
	} {
		if err := nesting.JSON5([]byte(c.text), nesting.MaxBytes); (err != nil) != c.deep {
			t.Errorf("%s: %v, want deep %v", name, err, c.deep)
		}
	}
}

// depth is how deep a parsed value nests.
func depth(v any) (deepest int) {
	switch x := v.(type) {
	case map[string]any:
		for _, one := range x {
			deepest = max(deepest, 1+depth(one))
		}
	case []any:
		for _, one := range x {
			deepest = max(deepest, 1+depth(one))
		}
	}
	return deepest
}

// FuzzTOML holds what passed to a depth that no parser minds: every one of MaxDepth
// inline tables may have a key of MaxDepth parts.
func FuzzTOML(f *testing.F) {
	for _, s := range []string{"a=[[[1]]]", "a.b.c={d.e=[1.5,'#',\"]\"]}", "[[a.b]]\nc='''\n[[[\n''''''", "a=\"\"\"\\\"\"\"\"\"\"\"", "# [\n\"[\"=1", "a=[#]\n]"} {
		f.Add([]byte(s), uint16(3))
		f.Add([]byte(s+strings.Repeat("[", 100)), uint16(70))
	}
	f.Fuzz(func(t *testing.T, text []byte, repeat uint16) {
		for _, b := range [][]byte{text, []byte(strings.Repeat(string(text), int(repeat)%200))} {
			if nesting.TOML(b, nesting.MaxBytes) != nil {
				continue
			}
			var v map[string]any
			if toml.Unmarshal(b, &v) == nil && depth(v) > nesting.MaxDepth*(nesting.MaxDepth+2) {
				t.Errorf("%d deep: %.200q", depth(v), b)
			}
		}
	})
}

// FuzzJSON5 is FuzzTOML for JSON5.
func FuzzJSON5(f *testing.F) {
	for _, s := range []string{"[[[1]]]", "{a:[1,'\\'',\"]\"]}", "[//]\n[/*]*/]]", "['\\\n[',[]]"} {
		f.Add([]byte(s), uint16(3))
		f.Add([]byte(strings.Repeat("[", 100)+s), uint16(70))
	}
	f.Fuzz(func(t *testing.T, text []byte, repeat uint16) {
		for _, b := range [][]byte{text, []byte(strings.Repeat(string(text), int(repeat)%200))} {
			if nesting.JSON5(b, nesting.MaxBytes) != nil {
				continue
			}
			var v any
			if json5.Unmarshal(b, &v) == nil && depth(v) > nesting.MaxDepth {
				t.Errorf("%d deep: %.200q", depth(v), b)
			}
		}
	})
}
