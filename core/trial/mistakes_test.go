package trial

import (
	"strings"
	"testing"
)

// A case that cannot be read is refused in words, with what stands there.
func TestCaseMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`{"abi":1`:                   "case x.json is not valid JSON, line 1, column 9",
		`[1]`:                        "case x.json is JSON, but not an object",
		`{"input":{},"expected":{}}`: "case x.json: an unknown member at /expected",
		`{"input":{},"kv":{"a":1}}`:  "case x.json: a value of the wrong type at /kv/a",
	} {
		_, err := parseCase("x.json", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "json"+"text") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
