package console

import (
	"fmt"
	"html/template"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/opengatewayprotocol/ogp/core/text"
)

// theirs shows what somebody else has written, on one line and cut to so many characters:
// as text and nothing else, in a box of its own direction, with every character that would
// act or hide shown as what it is.
//
// docs/threat-model.md#t6
func theirs(most int, s any) template.HTML { return shown("bdi", "theirs", most, textOf(s), false) }

// words shows a whole text of somebody else in the same way, with its lines, up to so many
// characters; zero: all of it.
func words(most int, s any) template.HTML { return shown("pre", "theirs", most, textOf(s), true) }

// textOf is what a page says of a value. Bytes are a text, not a list of numbers.
func textOf(v any) string {
	if b := reflect.ValueOf(v); b.Kind() == reflect.Slice && b.Type().Elem().Kind() == reflect.Uint8 {
		return string(b.Bytes())
	}
	return fmt.Sprint(v)
}

func shown(tag, class string, most int, s string, lines bool) template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<%s class="%s" dir="auto">`, tag, class)
	n := 0
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if n++; most > 0 && n > most {
			fmt.Fprintf(&b, `<span class="cut" title="%s in all">…</span>`, text.Count(utf8.RuneCountInString(s), "character"))
			break
		}
		switch {
		case r == '\n' && lines, r == '\t' && lines:
			b.WriteRune(r)
		case text.Acts(r):
			fmt.Fprintf(&b, `<span class="hides" title="an invisible character, shown as its number">U+%04X</span>`, r)
		default:
			b.WriteString(template.HTMLEscapeString(string(r)))
		}
	}
	fmt.Fprintf(&b, "</%s>", tag)
	return template.HTML(b.String())
}
