package plugin_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// Errors say what is wrong in words, with the bytes that are.
func TestErrorsShowWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ bytes, want string }{
		{"#!/bin/sh\necho hello\n", `it begins with "#!/bin/sh". A script can follow the events as lines of JSON`},
		{"# ours\n\npackage ogp.message\n", "opa build -t wasm -e ogp/message policy.rego"},
		{"\x1f\x8b\x08\x00\x00", "tar -xzf bundle.tar.gz /policy.wasm"},
		{"\x7fELF\x02\x01\x00", "it begins with the bytes 7f 45 4c 46, not 00 61 73 6d"},
		{"", "an empty file"},
	} {
		if _, err := plugin.Inspect(plugin.Spec{Name: "x", Bytes: []byte(c.bytes)}); !errors.Is(err, plugin.BadModule) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Inspect(%q) = %v, want %s", c.bytes, err, c.want)
		}
	}
	for answer, want := range map[string]string{
		`{"decision":allow}`:               `not valid JSON, line 1, column 13: "{\"decision\":" here "allow}"`,
		`{"decision":"allow"} and more`:    `more follows the object: " and more"`,
		`["allow"]`:                        `not a JSON object: "[\"allow\"]"`,
		`{"decision":"deny","decision":1}`: `a name that was there before`,
	} {
		p := load(t, newHost(t), plugin.Spec{Name: "x", Bytes: saying(answer)})
		if _, err := p.Call(t.Context(), plugin.Message, []byte(`{}`)); !errors.Is(err, plugin.BadAnswer) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Call = %v, want %s", answer, err, want)
		}
	}
}

// saying is a module that answers every message with a text of at most 63 bytes.
func saying(text string) []byte {
	n := string(rune(len(text)))
	return []byte("\x00asm\x01\x00\x00\x00" + "\x01\x0b\x02\x60\x02\x7f\x7f\x00\x60\x01\x7f\x01\x7f" + "\x02\x10\x01\x06ogp_v1\x05write\x00\x00" +
		"\x03\x02\x01\x01" + "\x05\x03\x01\x00\x01" + "\x07\x18\x02\x06memory\x02\x00\x0bogp_message\x00\x01" +
		"\x0a\x0c\x01\x0a\x00\x41\x00\x41" + n + "\x10\x00\x41\x00\x0b" + "\x0b" + string(rune(6+len(text))) + "\x01\x00\x41\x00\x0b" + n + text)
}

// A guest without an allocator reads what is pending in parts: no more than it asks for,
// nothing beyond the end, and never outside of its memory.
func TestReadAt(t *testing.T) {
	const input = `12345{"a":1}`
	for _, c := range []struct {
		dst, from, most byte
		want            string
	}{
		{0, 5, 63, `{"a":1}`}, {0, 5, 7, `{"a":1}`}, {0, 12, 9, "gave no output"}, {0, 63, 9, "gave no output"}, {0, 5, 3, "not valid JSON"}, {0x7f, 5, 7, "outside of its memory"},
	} {
		p := load(t, newHost(t), plugin.Spec{Name: "x", Bytes: reading(c.dst, c.from, c.most)})
		r, err := p.Call(t.Context(), plugin.Message, []byte(input))
		if got := string(r.Output); got != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("read_at(%d, %d, %d) = %s, %v; want %s", c.dst, c.from, c.most, got, err, c.want)
		}
	}
}

// reading is a module that answers with what read_at gives it. Its arguments are one byte
// each, as constants; 0x7f stands for -1.
func reading(dst, from, most byte) []byte {
	return []byte("\x00asm\x01\x00\x00\x00" + "\x01\x12\x03\x60\x02\x7f\x7f\x00\x60\x01\x7f\x01\x7f\x60\x03\x7f\x7f\x7f\x01\x7f" +
		"\x02\x21\x02\x06ogp_v1\x05write\x00\x00\x06ogp_v1\x07read_at\x00\x02" +
		"\x03\x02\x01\x01" + "\x05\x03\x01\x00\x01" + "\x07\x18\x02\x06memory\x02\x00\x0bogp_message\x00\x02" +
		"\x0a\x12\x01\x10\x00\x41\x00\x41" + string([]byte{dst, 0x41, from, 0x41, most}) + "\x10\x01\x10\x00\x41\x00\x0b")
}
