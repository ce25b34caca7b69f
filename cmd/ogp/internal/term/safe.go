package term

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/opengatewayprotocol/ogp/core/text"
)

// SafeText makes a peer's words safe for a terminal: no control characters but
// line ends and tabs.
func SafeText(s string) string { return text.Block(s) }

// SafeLine is safeText in one line, so that nobody writes lines in our name.
func SafeLine(s string) string {
	return oneLine.Replace(SafeText(s))
}

var oneLine = strings.NewReplacer("\n", " ", "\t", " ")

// SafeJSON escapes in a JSON text what a terminal may act on. Outside of strings
// there is none of it but white space.
func SafeJSON(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for _, r := range string(raw) {
		switch {
		case r == '\n' || r == '\t' || !text.Acts(r):
			out = utf8.AppendRune(out, r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
