package term

import (
	"strings"
	"testing"
	"unicode"

	"github.com/go-json-experiment/json"
)

func TestT6SafeJSONIsTheSameValueAndHarmless(t *testing.T) {
	for _, s := range []string{"", "plain", "zwölf 💡", nasty, "\U000E0041 tag", "\"\\\n\t"} {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		safe := SafeJSON(text)
		if i := strings.IndexFunc(string(safe), dangerous); i >= 0 {
			t.Errorf("SafeJSON(%q) = %q, which a terminal acts on", text, safe)
		}
		var got string
		if err := json.Unmarshal(safe, &got); err != nil || got != s {
			t.Errorf("SafeJSON(%q) reads as %q, %v, want %q", text, got, err, s)
		}
	}
}

func TestT6SafeLineIsOneLine(t *testing.T) {
	for _, s := range []string{nasty, "a\nb", "a\r\nb\tc", "a\u2028b\u0085c"} {
		if got := SafeLine(s); strings.ContainsAny(got, "\n\t") || strings.IndexFunc(got, dangerous) >= 0 {
			t.Errorf("SafeLine(%q) = %q, want one line without controls", s, got)
		}
	}
	if got, want := SafeText("a\n\tb  c"), "a\n\tb  c"; got != want {
		t.Errorf("safeText = %q, want %q", got, want)
	}
}

// nasty does what it likes with a terminal that prints it raw.
const nasty = "Bob\x1b[2J\x1b]0;owned\x07\r\n✓ Removed peer: you (You)\u009b31m\x7f\u202eevil\u2066\u2028\u200b\b\b"

// dangerous reports whether a terminal does more with a character than show it.
func dangerous(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}
