package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

func TestT6SafeJSONIsTheSameValueAndHarmless(t *testing.T) {
	for _, s := range []string{"", "plain", "zwölf 💡", nasty, "\U000E0041 tag", "\"\\\n\t"} {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		safe := safeJSON(text)
		if i := strings.IndexFunc(string(safe), dangerous); i >= 0 {
			t.Errorf("safeJSON(%q) = %q, which a terminal acts on", text, safe)
		}
		var got string
		if err := json.Unmarshal(safe, &got); err != nil || got != s {
			t.Errorf("safeJSON(%q) reads as %q, %v, want %q", text, got, err, s)
		}
	}
}

func TestT6SafeLineIsOneLine(t *testing.T) {
	for _, s := range []string{nasty, "a\nb", "a\r\nb\tc", "a\u2028b\u0085c"} {
		if got := safeLine(s); strings.ContainsAny(got, "\n\t") || strings.IndexFunc(got, dangerous) >= 0 {
			t.Errorf("safeLine(%q) = %q, want one line without controls", s, got)
		}
	}
	if got, want := safeText("a\n\tb  c"), "a\n\tb  c"; got != want {
		t.Errorf("safeText = %q, want %q", got, want)
	}
}

// TestT6RepliesAreHarmless prints replies of every form with the nasty text in
// them.
func TestT6RepliesAreHarmless(t *testing.T) {
	quoted, err := json.Marshal(nasty)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]core.Reply{
		"text":   {Success: true, Data: core.Raw(`{"text":` + string(quoted) + `}`)},
		"string": {Success: true, Data: core.Raw(quoted)},
		"object": {Success: true, Data: core.Raw(`{` + string(quoted) + `:[` + string(quoted) + `]}`)},
		"error":  {Error: nasty},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			a := &app{out: &out}
			a.printReply(&core.StoredReply{Reply: r})
			if i := strings.IndexFunc(out.String(), dangerous); i >= 0 || !strings.Contains(out.String(), "Bob") {
				t.Errorf("printed %q, want the text without what a terminal acts on", out.String())
			}
		})
	}
}
