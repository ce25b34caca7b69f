package text

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// LookAlike is a word whose letters can be taken for those of another script.
type LookAlike struct {
	At, End int    // its first byte, and behind its last one
	Scripts string // of its letters, in the order in which they come: "Cyrillic", "Latin+Greek"
}

// styled is what letters are called that are Latin ones in another dress: mathematical ones,
// those of a full width, and numerals that are letters.
const styled = "Styled"

// unspaced are scripts whose words stand beside Latin ones without a space between.
var unspaced = []string{"Han", "Hiragana", "Katakana", "Hangul", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"}

// twins are the letters of a script that look like Latin ones, after the table of confusables of
// Unicode's UTS 39; without any: all of it do.
var twins = map[string]string{
	"Cyrillic": "асԁеһіјӏорԛѕԝхуүьАВСЕНІЈКМОРЅТХУҮԌԚԜЗЬ",
	"Greek":    "αγηικνορτυωϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ",
	"Armenian": "ցհյոսօքգզլվՏՍՕԼ",
	"Coptic":   "", "Cherokee": "", "Lisu": "", "Deseret": "", styled: "",
}

// LookAlikes finds the words that can be taken for others: those with letters of two scripts,
// unless people write these so, and those with none but letters that look like Latin ones, in a
// text in which that script has no other word. docs/threat-model.md#t6
func LookAlikes(s string) (out []LookAlike) {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0 {
		return nil
	}
	var word []string // the scripts of its letters
	plain := true     // all of its letters have twins
	told := map[string]bool{}
	begin := 0
	end := func(at int) {
		switch {
		case len(word) == 1 && word[0] != "Latin":
			if _, some := twins[word[0]]; some && plain {
				out = append(out, LookAlike{begin, at, word[0]})
			} else {
				told[word[0]] = true
			}
		case len(word) > 1 && slices.ContainsFunc(word, func(w string) bool { return w != "Latin" && !slices.Contains(unspaced, w) }):
			out = append(out, LookAlike{begin, at, strings.Join(word, "+")})
		}
		word, plain = nil, true
	}
	for at, r := range s {
		switch {
		case unicode.IsLetter(r), unicode.Is(unicode.Nl, r):
			name := scriptOf(r)
			if name != "" && !slices.Contains(word, name) {
				word = append(word, name)
			}
			if t := twins[name]; t != "" && !strings.ContainsRune(t, r) {
				plain = false
			}
		case unicode.IsDigit(r), unicode.IsMark(r):
		default:
			end(at)
			begin = at + utf8.RuneLen(r)
		}
	}
	end(len(s))
	return slices.DeleteFunc(out, func(l LookAlike) bool { return told[l.Scripts] })
}

// Marked is s with the scripts of its look-alikes behind it, where there is no place for a mark.
func Marked(s string) string {
	var names []string
	for _, l := range LookAlikes(s) {
		if !slices.Contains(names, l.Scripts) {
			names = append(names, l.Scripts)
		}
	}
	if names == nil {
		return s
	}
	return s + " (" + strings.Join(names, ", ") + ")"
}

var scriptNames = sync.OnceValue(func() []string {
	often := append([]string{"Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari"}, unspaced...)
	for _, name := range slices.Sorted(maps.Keys(unicode.Scripts)) {
		if !slices.Contains(often, name) && name != "Common" && name != "Inherited" {
			often = append(often, name)
		}
	}
	return often
})

// scriptOf names the script of a letter; empty: it is of none.
func scriptOf(r rune) string {
	switch {
	case r <= 'z':
		return "Latin"
	case '\u2100' <= r && r <= '\u2188', '\uFF21' <= r && r <= '\uFF5A', '\U0001D400' <= r && r <= '\U0001D7FF':
		return styled
	}
	for _, name := range scriptNames() {
		if unicode.Is(unicode.Scripts[name], r) {
			return name
		}
	}
	return ""
}
