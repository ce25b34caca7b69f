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

// docs/threat-model.md#t6
func TestT6LookAlikes(t *testing.T) {
	for s, want := range map[string]string{
		"paypal": "", "Zoë & Łukasz": "", "": "",
		"раypal":                   "раypal (Cyrillic+Latin)",
		"pаypаl, Inc.":             "pаypаl, Inc. (Latin+Cyrillic)",
		"https://раypal.example/":  "https://раypal.example/ (Cyrillic+Latin)",
		"Оре":                      "Оре (Cyrillic)",
		"сосо@example.com":         "сосо@example.com (Cyrillic)",
		"Οpen":                     "Οpen (Greek+Latin)",
		"ΟΡΕΝ":                     "ΟΡΕΝ (Greek)",
		"ᏢᎪᎩᏢᎪᏞ":                   "ᏢᎪᎩᏢᎪᏞ (Cherokee)",
		"𝐩𝐚𝐲𝐩𝐚𝐥":                   "𝐩𝐚𝐲𝐩𝐚𝐥 (Styled)",
		"ｐａｙｐａｌ":                   "ｐａｙｐａｌ (Styled)",
		"paypaⅼ":                   "paypaⅼ (Latin+Styled)",
		"Привет, ухо":              "", // its other words say what it is
		"Анна":                     "",
		"Иван Петров, IT-отдел":    "",
		"Γιάννης και Ελένη":        "",
		"東京タワーとPython3":            "",
		"ใช้Pythonเขียน":           "",
		"한국어OK":                    "",
		"שלום":                     "",
		"مرحبا":                    "",
		"gοοgle gοοgle":            "gοοgle gοοgle (Latin+Greek)",
		"a5 µs 3 Ω":                "",
		"\xff\xfe":                 "",
		"e\u0301te\u0301 раypal 1": "e\u0301te\u0301 раypal 1 (Cyrillic+Latin)",
	} {
		if want == "" {
			want = s
		}
		if got := text.Marked(s); got != want {
			t.Errorf("%q: %q", s, got)
		}
	}
	for _, l := range text.LookAlikes("an раypal here") {
		if "an раypal here"[l.At:l.End] != "раypal" {
			t.Errorf("the word is at %d to %d", l.At, l.End)
		}
	}
}
