package sdk

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

// goValue is the value as encoding/json would decode it with UseNumber.
func goValue(v Value) any {
	switch v.Kind() {
	case Null:
		return nil
	case Bool:
		return v.Bool()
	case Number:
		return json.Number(v.JSON())
	case Text:
		return v.Text()
	case Array:
		all := []any{}
		v.Each(func(_ string, e Value) bool { all = append(all, goValue(e)); return true })
		return all
	case Map:
		all := map[string]any{}
		v.Each(func(name string, e Value) bool { all[name] = goValue(e); return true })
		return all
	}
	return "missing"
}

func mustParse(t testing.TB, text string) Value {
	t.Helper()
	v, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q) = %v, want a value", text, err)
	}
	return v
}

func TestParseReadsWhatEncodingJSONReads(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `-1.5e+10`, `1E-2`, `""`, `" "`,
		`{"a":{"b":[1,"two",null,{"c":true}]},"d":"\u00e9\n\t\"\\\/\b\f\r"}`,
		"\t{ \"a\" :\r\n[ 1 , 2 ] } ", `"\ud83d\ude00 \ud83d x \ude00"`, `"héllo €"`, `[[],{},[{}]]`,
		`{"a":1,"\u0062":2}`,
	} {
		v := mustParse(t, text)
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		g, _ := json.Marshal(goValue(v))
		w, _ := json.Marshal(want)
		if string(g) != string(w) {
			t.Errorf("Parse(%s) = %s, want %s", text, g, w)
		}
	}
}

func TestParseRefusesWhatIsNoJSON(t *testing.T) {
	for text, reason := range map[string]string{
		``: "unexpected end", ` `: "unexpected end", `{`: "a member's name expected", `[`: "unexpected end",
		`{"a"}`: "':' expected", `{"a":}`: "unexpected character", `{"a":1,}`: "a member's name expected",
		`[1,]`: "unexpected character", `[1 2]`: "',' or ']' expected", `{"a":1 "b":2}`: "',' or '}' expected",
		`01`: "more after the value", `-`: "a digit expected", `1.`: "a digit expected", `.5`: "unexpected character",
		`1e`: "a digit expected", `+1`: "unexpected character", `tru`: "unexpected character", `nul`: "unexpected character",
		`"`: "unexpected end in a string", `"\`: "unknown escape", `"\x"`: "unknown escape", `"\u12g4"`: "four hex digits expected",
		`"\u12`: "four hex digits expected", "\"a\nb\"": "a control character in a string",
		"\"\xff\"": "invalid utf-8 in a string", `{} {}`: "more after the value", "\ufeff{}": "unexpected character",
		`'a'`: "unexpected character", `{a:1}`: "a member's name expected", `NaN`: "unexpected character",
		"\x00": "unexpected character", `[1]x`: "more after the value",
	} {
		_, err := Parse(text)
		je, ok := err.(*JSONError)
		if !ok || je.Reason != reason {
			t.Errorf("Parse(%q) = %v, want %q", text, err, reason)
		}
	}
}

func TestParseBoundsDepth(t *testing.T) {
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	mustParse(t, nest(maxDepth+1)) // the outermost lies at depth 0
	if _, err := Parse(nest(maxDepth + 2)); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("Parse of %d arrays = %v, want too deep", maxDepth+2, err)
	}
	if _, err := Parse(strings.Repeat("[", 1<<20)); err == nil {
		t.Error("Parse of a million brackets = nil, want an error")
	}
}

func TestValueLooksThroughWhatIsMissing(t *testing.T) {
	v := mustParse(t, `{"a":{"n":7,"b":true,"s":"x","l":["p",1,"q"]},"big":9223372036854775808,"a":9}`)
	if got := v.Get("a").Get("n").Int(); got != 7 {
		t.Errorf("a.n = %d, want 7", got)
	}
	if !v.Get("a").Get("b").Bool() || v.Get("a").Get("n").Bool() {
		t.Error("Bool is true for something else than true")
	}
	if got := v.Get("a").Get("l").Texts(); len(got) != 2 || got[0] != "p" || got[1] != "q" {
		t.Errorf("a.l = %q, want p q", got)
	}
	if got := v.Get("nope").Get("x").Get("y"); got.Exists() || got.Text() != "" || got.Int() != 0 || got.Len() != 0 || got.JSON() != "" {
		t.Errorf("missing = %v, want nothing", got)
	}
	if n, ok := v.Get("big").IsInt(); ok {
		t.Errorf("2^63 = %d, want no int64", n)
	}
	if v.Len() != 3 {
		t.Errorf("Len = %d, want 3", v.Len())
	}
}

func TestParseIntAtTheEdges(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-0": 0, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64, "-17": -17,
	} {
		if got, ok := ParseInt(text); !ok || got != want {
			t.Errorf("ParseInt(%s) = %d %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "-", "9223372036854775808", "-9223372036854775809", "1.0", "1e3", " 1", "99999999999999999999999", "18446744073709551616"} {
		if got, ok := ParseInt(text); ok {
			t.Errorf("ParseInt(%q) = %d, want none", text, got)
		}
	}
}

func TestObjectWritesWhatParseReads(t *testing.T) {
	inner := new(Object).Int("n", -5)
	text := new(Object).Text("a\"b", "line\n\x01\x7f\xff€").Bool("yes", true).Texts("l", []string{"x", "y"}).
		Object("o", inner).Objects("os", []*Object{inner, {}}).Value("gone", Value{}).TextIf("none", "").JSON()
	v := mustParse(t, text)
	if got, want := v.Get("a\"b").Text(), "line\n\x01\x7f\ufffd€"; got != want {
		t.Errorf("text = %q, want %q", got, want)
	}
	if want := `{"a\"b":"line\n\u0001\u007f` + "\ufffd" + `€","yes":true,"l":["x","y"],"o":{"n":-5},"os":[{"n":-5},{}],"gone":null}`; text != want {
		t.Errorf("JSON = %s\nwant   %s", text, want)
	}
	if got := new(Object).JSON(); got != "{}" {
		t.Errorf("empty = %s, want {}", got)
	}
}

// FuzzParse: what Parse takes, encoding/json takes as the same value, and the other way
// round, but for invalid UTF-8, which Parse refuses, and depth.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"abi":1,"hook":"policy","kind":"message","peer":{"alias":"bob","grants":["message"]},"message":{"payload":{"text":"hi \ud83d\ude00"}}}`,
		`[1,-2.5e3,true,null,"\u0000\\\"",{}]`, `"\ud800"`, `{"a":{"a":{"a":[]}}}`, `1e`, "\"\xff\"", `{"a":1,"a":2}`, `"\u00e9"`, ``,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(text)
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var want any
		wantErr := d.Decode(&want)
		if wantErr == nil && d.More() {
			return // trailing values: only Parse refuses them, which has its own test
		}
		if err == nil && !json.Valid([]byte(text)) {
			t.Fatalf("Parse(%q) = nil, encoding/json refuses it", text)
		}
		if err != nil {
			if json.Valid([]byte(text)) && utf8.ValidString(text) && strings.Count(text, "[")+strings.Count(text, "{") <= maxDepth {
				t.Fatalf("Parse(%q) = %v, encoding/json takes it", text, err)
			}
			return
		}
		if !repeats(v) {
			g, _ := json.Marshal(goValue(v))
			w, _ := json.Marshal(want)
			if string(g) != string(w) {
				t.Fatalf("Parse(%q) = %s, want %s", text, g, w)
			}
		}
		again := mustParse(t, new(Object).Value("v", v).JSON()).Get("v")
		if again.JSON() != v.JSON() {
			t.Fatalf("written back: %q, want %q", again.JSON(), v.JSON())
		}
		if s := v.Text(); mustParse(t, Quote(s)).Text() != s {
			t.Fatalf("Quote(%q) reads back as another text", s)
		}
	})
}

// repeats says that an object somewhere has the same name twice, where decoders differ.
func repeats(v Value) bool {
	seen, found := map[string]bool{}, false
	v.Each(func(name string, e Value) bool {
		found = v.Kind() == Map && seen[name] || repeats(e)
		seen[name] = true
		return !found
	})
	return found
}

func BenchmarkParseMessage(b *testing.B) {
	b.SetBytes(int64(len(messageInput)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(messageInput); err != nil {
			b.Fatal(err)
		}
	}
}
