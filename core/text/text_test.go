package text_test

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core/text"
)

func TestLine(t *testing.T) {
	for _, test := range []struct {
		in   string
		max  int
		want string
	}{
		{"Ada", 10, "Ada"},
		{" a\nb\tc\x1b[31m ", 0, "a b c [31m"},
		{"a\u202eb\u200bc\u2028d", 0, "a b c d"},
		{"ab\xffc", 0, "ab\uFFFDc"},
		{"äöü", 3, "äöü"},
		{"äöüx", 3, "äöü…"},
		{"\u0000\u0007", 5, ""},
	} {
		if got := text.Line(test.in, test.max); got != test.want {
			t.Errorf("Line(%q, %d) = %q, want %q", test.in, test.max, got, test.want)
		}
	}
}

// TestActs: what hides, turns the direction or shows nothing acts; what makes an emoji does not.
func TestActs(t *testing.T) {
	for _, r := range "\x1b\u202e\u200b\u2028\u3164\u115f\u2800\u034f\ufe01\U000e0141\U000e0041" {
		if !text.Acts(r) {
			t.Errorf("U+%04X does not act", r)
		}
	}
	for _, r := range "a~é語\ufe0f\ufe0e\u0301😀 \u00a0" {
		if text.Acts(r) {
			t.Errorf("U+%04X acts", r)
		}
	}
}

func TestBlock(t *testing.T) {
	if got, want := text.Block("a\n\tb\r\x1b[2J\u202e\xff"), "a\n\tb\uFFFD\uFFFD[2J\uFFFD\uFFFD"; got != want {
		t.Errorf("Block = %q, want %q", got, want)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"daemon_port", "gateway_url", "listen", "log.level", "openclaw_url"}
	for name, want := range map[string]string{
		"daemonPort": "daemon_port", "gatewy_url": "gateway_url", "lisen": "listen", "loglevel": "log.level",
		"port": "daemon_port", "level": "log.level", "url": "", "lug": "", "lgo.level": "log.level", "foo": "", "colour": "", "x": "", "": "",
	} {
		if got, _ := text.Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
	if _, d := text.Nearest("lissten", known); d != 1 {
		t.Errorf("distance = %d, want 1", d)
	}
}
