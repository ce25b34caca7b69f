package console

import (
	"bytes"
	"fmt"
	"html/template"
	"reflect"
	"regexp"
	"strings"
	"unicode"
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

// editable is what an operator edits, which has to be there as it is.
var editable = regexp.MustCompile(`(?s)<input[^>]* value="[^"]*"|<textarea.*?</textarea>`)

// sober has a mark in a page for each character that would act or hide, wherever it stands:
// in a title, in an attribute, in a name of ours.
func sober(page []byte) []byte {
	hides := func(r rune) bool { return r != '\n' && r != '\t' && text.Acts(r) }
	if bytes.IndexFunc(page, hides) < 0 {
		return page
	}
	marked := func(b []byte) []byte {
		return bytes.Map(func(r rune) rune {
			if hides(r) {
				return utf8.RuneError
			}
			return r
		}, b)
	}
	var out []byte
	at := 0
	for _, found := range editable.FindAllIndex(page, -1) {
		out = append(append(out, marked(page[at:found[0]])...), page[found[0]:found[1]]...)
		at = found[1]
	}
	return append(out, marked(page[at:])...)
}

// mark names the scripts of a word that has ended, and returns those that have not.
func mark(b *strings.Builder, alike []text.LookAlike, at int) []text.LookAlike {
	if len(alike) > 0 && alike[0].End == at {
		fmt.Fprintf(b, `<span class="script" title="the script of this word's letters, which can look like others">%s</span>`, alike[0].Scripts)
		return alike[1:]
	}
	return alike
}

// maxMarks is how many marks above and below a letter are drawn: with more they leave their line.
const maxMarks = 4

func shown(tag, class string, most int, s string, lines bool) template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<%s class="%s" dir="auto">`, tag, class)
	if class == "theirs" && strings.TrimSpace(s) == "" {
		b.WriteString(`<span class="cut">nothing</span>`)
	}
	n, marks, last := 0, 0, rune(0)
	s = strings.ToValidUTF8(s, "\uFFFD")
	alike := text.LookAlikes(s)
	for at, r := range s {
		alike = mark(&b, alike, at)
		if n++; most > 0 && n > most {
			fmt.Fprintf(&b, `<span class="cut" title="%s in all">…</span>`, text.Count(utf8.RuneCountInString(s), "character"))
			if len(alike) > 0 && alike[0].At < at {
				mark(&b, alike, alike[0].End)
			}
			break
		}
		if marks++; !unicode.In(r, unicode.Mn, unicode.Me) {
			marks = 0
		}
		switch {
		case r == '\n' && lines, r == '\t' && lines:
			b.WriteRune(r)
		case text.Acts(r), marks > maxMarks, unicode.Is(unicode.Variation_Selector, r) && unicode.Is(unicode.Variation_Selector, last):
			fmt.Fprintf(&b, `<span class="hides" title="an invisible character, shown as its number">U+%04X</span>`, r)
		default:
			b.WriteString(template.HTMLEscapeString(string(r)))
		}
		last = r
	}
	if most == 0 || n <= most {
		mark(&b, alike, len(s))
	}
	fmt.Fprintf(&b, "</%s>", tag)
	return template.HTML(b.String())
}
