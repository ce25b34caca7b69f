package jsjson_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/jsjson"
)

// table is what node 20 gives; TestStringifyIsNodes asks it again.
var table = []struct{ in, want string }{
	// numbers
	{`0`, `0`}, {`-0`, `0`}, {`-0.0`, `0`}, {`0e5`, `0`}, {`1.0`, `1`}, {`-1.50`, `-1.5`},
	{`100`, `100`}, {`1e2`, `100`}, {`1E+2`, `100`}, {`1e-2`, `0.01`}, {`0.1`, `0.1`},
	{`999999999999999`, `999999999999999`}, {`9007199254740992`, `9007199254740992`},
	{`9007199254740993`, `9007199254740992`}, {`12345678901234567890`, `12345678901234567000`},
	{`1e20`, `100000000000000000000`}, {`1e21`, `1e+21`}, {`-1e21`, `-1e+21`}, {`999999999999999999999`, `1e+21`},
	{`123456789012345678901`, `123456789012345680000`}, {`1.5e300`, `1.5e+300`}, {`1e100`, `1e+100`},
	{`0.000001`, `0.000001`}, {`0.0000001`, `1e-7`}, {`1.5e-7`, `1.5e-7`}, {`-1e-10`, `-1e-10`},
	{`5e-324`, `5e-324`}, {`2e-324`, `0`}, {`-2e-324`, `0`}, {`3e-324`, `5e-324`},
	{`1.7976931348623157e308`, `1.7976931348623157e+308`}, {`1.7976931348623159e308`, `null`},
	{`1e400`, `null`}, {`-1e400`, `null`}, {`1e-400`, `0`},
	{`0.30000000000000004`, `0.30000000000000004`}, {`4.35`, `4.35`}, {`1.100`, `1.1`},
	{`2.2250738585072011e-308`, `2.225073858507201e-308`}, {`[1e1,1.0e0]`, `[10,1]`},
	{`1763755200000`, `1763755200000`},
	// words and space
	{` true `, `true`}, {"\tfalse\n", `false`}, {"\r null", `null`},
	{`[ ]`, `[]`}, {`{ }`, `{}`}, {`[ 1 , 2 ]`, `[1,2]`}, {`{ "a" : [ { } ] }`, `{"a":[{}]}`},
	// strings
	{`""`, `""`}, {`"\/"`, `"/"`}, {`"\b\f\n\r\t\"\\"`, `"\b\f\n\r\t\"\\"`}, {`"\u0008\u000C\u000a\u000D\u0009\u0022\u005c"`, `"\b\f\n\r\t\"\\"`},
	{`"\u0000\u001F\u000b"`, `"\u0000\u001f\u000b"`}, {`"\u007f"`, "\"\u007f\""}, {`"\u00e9"`, `"é"`}, {`"é"`, `"é"`},
	{`"\u2028\u2029"`, "\"\u2028\u2029\""}, {`"<&>'"`, `"<&>'"`}, {`"\ud83d\ude00"`, `"😀"`}, {`"\uD83D\uDE00"`, `"😀"`}, {`"😀"`, `"😀"`},
	{`"\ud83d"`, `"\ud83d"`}, {`"\uDE00"`, `"\ude00"`}, {`"\uDE00\uD83D"`, `"\ude00\ud83d"`}, {`"\ud83d\ud83d\ude00"`, `"\ud83d😀"`},
	{`"\ud83dx"`, `"\ud83dx"`}, {`"\ud83d\n"`, `"\ud83d\n"`}, {`"\ud83d\u0041"`, `"\ud83dA"`}, {`"\ufffd\uFFFF\uFFFE"`, "\"\ufffd\uffff\ufffe\""},
	{`"\u0041"`, `"A"`}, {`"\ufeff"`, "\"\ufeff\""},
	// objects
	{`{"b":1,"a":2}`, `{"b":1,"a":2}`}, {`{"b":1,"2":2,"a":3,"1":4}`, `{"1":4,"2":2,"b":1,"a":3}`},
	{`{"10":0,"9":1}`, `{"9":1,"10":0}`}, {`{"01":1,"1":2,"00":3,"0":4}`, `{"0":4,"1":2,"01":1,"00":3}`},
	{`{"-1":1,"1":2}`, `{"1":2,"-1":1}`}, {`{"-0":1,"0":2}`, `{"0":2,"-0":1}`}, {`{"1.0":1,"1":2,"1e0":3}`, `{"1":2,"1.0":1,"1e0":3}`},
	{`{"a":1,"4294967294":2}`, `{"4294967294":2,"a":1}`},
	{`{"a":1,"4294967295":2,"4294967296":3}`, `{"a":1,"4294967295":2,"4294967296":3}`}, {`{"a":1,"9999999999":2}`, `{"a":1,"9999999999":2}`},
	{`{"\u0031":1,"0":2}`, `{"0":2,"1":1}`},
	{`{"a":1,"a":2}`, `{"a":2}`}, {`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`}, {`{"a":{"x":1},"a":{"y":2}}`, `{"a":{"y":2}}`},
	{`{"a":1,"\u0061":2}`, `{"a":2}`}, {`{"1":1,"1":2}`, `{"1":2}`}, {`{"b":0,"1":1,"b":5,"1":2}`, `{"1":2,"b":5}`},
	{`{"\ud800":1,"\uD800":2,"\udc00":3}`, `{"\ud800":2,"\udc00":3}`},
	{`{"__proto__":1}`, `{"__proto__":1}`}, {`{"a":1,"__proto__":{"x":1},"__proto__":[]}`, `{"a":1,"__proto__":[]}`},
	{`{"toJSON":1,"constructor":2,"length":3}`, `{"toJSON":1,"constructor":2,"length":3}`}, {`{"":1}`, `{"":1}`},
	{`{"z":{"2":0,"1":{"b":0,"1":0}}}`, `{"z":{"1":{"1":0,"b":0},"2":0}}`},
	{`[{"2":0,"1":0},{"2":0,"1":0}]`, `[{"1":0,"2":0},{"1":0,"2":0}]`},
	{`{"a":0,"b":1,"c":2,"d":3,"e":4,"f":5,"g":6,"h":7,"i":8,"j":9,"k":10,"l":11,"m":12,"a":13,"5":14,"b":15}`,
		`{"5":14,"a":13,"b":15,"c":2,"d":3,"e":4,"f":5,"g":6,"h":7,"i":8,"j":9,"k":10,"l":11,"m":12}`},
	{`{"payload":{"text":"h\u00e9"},"timestamp":"2026-11-21T20:12:53.035Z"}`, `{"payload":{"text":"hé"},"timestamp":"2026-11-21T20:12:53.035Z"}`},
}

func TestStringify(t *testing.T) {
	for _, c := range table {
		got, err := jsjson.Stringify([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("Stringify(%s) = %s, %v, want %s", c.in, got, err, c.want)
		}
		again, err := jsjson.Stringify([]byte(c.want))
		if err != nil || string(again) != c.want {
			t.Errorf("Stringify(%s) = %s, %v, want the same", c.want, again, err)
		}
	}
}

var noJSON = []string{
	``, ` `, `nul`, `nulll`, `True`, `NaN`, `Infinity`, `-Infinity`, `undefined`, `-`, `+1`, `01`, `-01`, `00`, `1.`, `.5`, `1.e1`, `1e`, `1e+`, `0x10`, `1_0`, `--1`,
	`"`, `"a`, `"\`, `"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\u+123"`, `"\U0041"`, `'a'`, "\"\n\"", "\"\x00\"", "\"\x1f\"", `"\0"`, `"\'"`,
	`[`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`, `]`, `[1}`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{a:1}`, `{1:1}`, `{"a" 1}`, `{"a":1]`, `{"a"::1}`, `{"a":}`,
	`1 2`, `{} {}`, `[]x`, `null,`, `//x` + "\n1", `/**/1`, "\ufeff1", "\u00a01", "\v1", "\f1", "1\x00",
}

func TestStringifyRefusesWhatIsNoJSON(t *testing.T) {
	invalidUTF8 := []string{"\"\xff\"", "\"\xc3\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "{\"\x80\":1}"}
	for _, in := range append(append([]string{}, noJSON...), invalidUTF8...) {
		if got, err := jsjson.Stringify([]byte(in)); !errors.Is(err, core.Malformed) || got != nil {
			t.Errorf("Stringify(%q) = %s, %v, want Malformed", in, got, err)
		}
	}
}

func TestStringifyBoundsDepth(t *testing.T) {
	nest := func(depth int, open, inner, end string) string {
		return strings.Repeat(open, depth) + inner + strings.Repeat(end, depth)
	}
	for _, c := range []struct{ open, inner, end string }{{`[`, `1`, `]`}, {`{"a":`, `1`, `}`}, {`[`, ``, `]`}} {
		fits := nest(jsjson.MaxDepth, c.open, c.inner, c.end)
		if _, err := jsjson.Stringify([]byte(fits)); err != nil {
			t.Errorf("Stringify at depth %d = %v, want nil", jsjson.MaxDepth, err)
		}
		if _, err := jsjson.Stringify([]byte(nest(jsjson.MaxDepth+1, c.open, c.inner, c.end))); !errors.Is(err, core.Malformed) {
			t.Errorf("Stringify at depth %d = %v, want Malformed", jsjson.MaxDepth+1, err)
		}
	}
	if _, err := jsjson.Stringify([]byte(strings.Repeat("[", 1<<20))); !errors.Is(err, core.Malformed) {
		t.Errorf("Stringify of a million brackets = %v, want Malformed", err)
	}
}

func TestStringifyGivesCanonicalInputBack(t *testing.T) {
	in := []byte(`{"1":"é","b":[1,2.5,{"c":"\n"}],"a":null}`)
	got, err := jsjson.Stringify(in)
	if err != nil || &got[0] != &in[0] || len(got) != len(in) {
		t.Errorf("Stringify = %s, %v, want the same slice", got, err)
	}
}

func TestStringifyResultIsTheCallers(t *testing.T) {
	first, err := jsjson.Stringify([]byte(` {"a":1} `))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := jsjson.Stringify([]byte(` ["other text","other text"] `)); err != nil {
			t.Fatal(err)
		}
	}
	if string(first) != `{"a":1}` {
		t.Errorf("the result became %s, want it unchanged", first)
	}
}

// nodes asks node for JSON.stringify(JSON.parse(text)) of each text; nil is a
// text that it refuses.
func nodes(t *testing.T, texts []string) []*string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not on the path, so there is nothing to compare with")
	}
	input, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	run := exec.Command(node, "-e", `
		const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'))
		process.stdout.write(JSON.stringify(texts.map(t => {
			try { return JSON.stringify(JSON.parse(t)) } catch { return null }
		})))`)
	run.Stdin = bytes.NewReader(input)
	out, err := run.Output()
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	var answers []*string
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(texts) {
		t.Fatalf("node gave %d answers, %v, want %d", len(answers), err, len(texts))
	}
	return answers
}

func compare(t *testing.T, texts []string) {
	t.Helper()
	for i, want := range nodes(t, texts) {
		got, err := jsjson.Stringify([]byte(texts[i]))
		switch {
		case want == nil && err == nil:
			t.Errorf("Stringify(%q) = %q, node refuses it", texts[i], got)
		case want != nil && (err != nil || string(got) != *want):
			t.Errorf("Stringify(%q) = %q, %v, node gives %q", texts[i], got, err, *want)
		}
	}
}

func TestStringifyIsNodes(t *testing.T) {
	texts := append([]string{}, noJSON...)
	for _, c := range table {
		texts = append(texts, c.in, c.want)
	}
	for i, want := range nodes(t, texts) {
		if i >= len(noJSON) && (i-len(noJSON))%2 == 0 {
			if c := table[(i-len(noJSON))/2]; want == nil || *want != c.want {
				t.Errorf("node gives %v for %s, and our table says %s", want, c.in, c.want)
			}
		}
	}
	compare(t, texts)
}

func TestStringifyIsNodesOnNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var texts []string
	for range 20000 {
		f := math.Float64frombits(r.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		switch r.IntN(4) {
		case 0:
			texts = append(texts, strconv.FormatFloat(f, 'e', r.IntN(25), 64))
		case 1:
			texts = append(texts, strconv.FormatFloat(f, 'e', -1, 64))
		case 2:
			texts = append(texts, strconv.FormatFloat(math.Ldexp(r.Float64(), r.IntN(160)-80), 'f', r.IntN(30), 64))
		case 3:
			texts = append(texts, strconv.FormatInt(r.Int64()>>r.IntN(63), 10))
		}
	}
	for e := -330; e <= 310; e++ {
		texts = append(texts, fmt.Sprintf("1e%d", e), fmt.Sprintf("-9.999999999999999999e%d", e), fmt.Sprintf("123456789e%d", e))
	}
	compare(t, texts)
}

func TestStringifyIsNodesOnRandomText(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var texts []string
	for range 20000 {
		var b strings.Builder
		grow(r, &b, 4)
		text := b.String()
		if r.IntN(4) == 0 { // bend it
			at := r.IntN(len(text))
			text = text[:at] + string(`{}[]",:\u0e-. `[r.IntN(14)]) + text[at:]
		}
		texts = append(texts, strings.ToValidUTF8(text, ""))
	}
	compare(t, texts)
}

// grow writes random JSON, rich in what JavaScript treats in its own way.
func grow(r *rand.Rand, b *strings.Builder, depth int) {
	pick := func(of []string) string { return of[r.IntN(len(of))] }
	space := func() { b.WriteString(pick([]string{"", "", "", " ", "\n\t"})) }
	space()
	defer space()
	kind := r.IntN(8)
	if depth == 0 {
		kind %= 4
	}
	switch {
	case kind < 2:
		b.WriteString(pick([]string{"0", "-0", "1.50", "1e21", "1e-7", "true", "null", "123456789012345678", "-1E2"}))
	case kind < 4:
		b.WriteByte('"')
		for range r.IntN(4) {
			b.WriteString(pick(pieces))
		}
		b.WriteByte('"')
	case kind < 5:
		b.WriteByte('[')
		for i := range r.IntN(4) {
			if i > 0 {
				b.WriteByte(',')
			}
			grow(r, b, depth-1)
		}
		b.WriteByte(']')
	default:
		b.WriteByte('{')
		for i := range r.IntN(r.IntN(2)*14 + 4) {
			if i > 0 {
				b.WriteByte(',')
			}
			space()
			b.WriteByte('"')
			if r.IntN(2) == 0 {
				b.WriteString(pick([]string{"0", "1", "2", "10", "01", "-1", "4294967294", "4294967295", "1.0", "__proto__", "a", "b"}))
			} else {
				b.WriteString(pick(pieces))
			}
			b.WriteByte('"')
			space()
			b.WriteByte(':')
			grow(r, b, depth-1)
		}
		b.WriteByte('}')
	}
}

var pieces = []string{"a", "é", "😀", `\ud83d`, `\ude00`, `\uD83D\uDE00`, `\n`, `\u0000`, `\u001F`, `\/`, `\\`, `\"`, `\u0041`, `\u0031`, "1", "\u2028", "\x7f", `\u2029`, "<"}

// TestStringifyOnPublishedTexts holds our verdicts against JSONTestSuite's.
func TestStringifyOnPublishedTexts(t *testing.T) {
	folder := os.Getenv("OGP_CORPORA")
	if folder == "" {
		t.Skip("OGP_CORPORA names no folder with JSONTestSuite (json-parsing.json)")
	}
	data, err := os.ReadFile(filepath.Join(folder, "json-parsing.json"))
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Cases map[string][]byte `json:"cases"`
	}
	if err := json.Unmarshal(data, &suite); err != nil || len(suite.Cases) < 300 {
		t.Fatalf("%d cases, %v, want the whole suite", len(suite.Cases), err)
	}
	for name, text := range suite.Cases {
		got, err := jsjson.Stringify(text)
		switch {
		case name[0] == 'y' && err != nil:
			t.Errorf("Stringify(%s) = %v, want nil", name, err)
		case name[0] == 'n' && err == nil:
			t.Errorf("Stringify(%s) = %.80s, want an error", name, got)
		}
		check(t, text)
	}
	t.Run("node", func(t *testing.T) {
		var texts []string
		for name, text := range suite.Cases {
			// node knows no bound of depth, and no bytes that are not UTF-8.
			if name != "i_structure_500_nested_arrays.json" && utf8.Valid(text) {
				texts = append(texts, string(text))
			}
		}
		compare(t, texts)
	})
}

// check holds what is true of every text.
func check(t *testing.T, in []byte) {
	t.Helper()
	kept := bytes.Clone(in)
	got, err := jsjson.Stringify(in)
	if !bytes.Equal(in, kept) {
		t.Fatalf("Stringify changed its input %q to %q", kept, in)
	}
	if err != nil {
		if !errors.Is(err, core.Malformed) || got != nil {
			t.Fatalf("Stringify(%q) = %q, %v, want Malformed and nothing", in, got, err)
		}
		return
	}
	again, err := jsjson.Stringify(got)
	if err != nil || !bytes.Equal(again, got) {
		t.Fatalf("Stringify(%q) = %q, and of that %q, %v, want the same", in, got, again, err)
	}
	var before, after any
	if json.Unmarshal(in, &before) == nil {
		if err := json.Unmarshal(got, &after); err != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("%q reads as %v, and its Stringify %q as %v, %v", in, before, got, after, err)
		}
	}
}

func FuzzStringify(f *testing.F) {
	for _, c := range table {
		f.Add([]byte(c.in))
	}
	for _, in := range noJSON {
		f.Add([]byte(in))
	}
	f.Fuzz(check)
}

func benchmark(b *testing.B, in []byte) {
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jsjson.Stringify(in); err != nil {
			b.Fatal(err)
		}
	}
}

const sample = `{"intent":"agent-comms","from":"302a300506032b65700321009b691d31","to":"302a300506032b6570032100a7febe3b","nonce":"bea7a6f6-6c74-4589-a15f-a4a7e5175023","timestamp":"2026-11-21T20:45:12.096Z","payload":{"topic":"memory","message":"who, when, may, keep, tell, answer","priority":1}}`

func BenchmarkStringifyCanonical(b *testing.B) { benchmark(b, []byte(sample)) }

func BenchmarkStringifySpaced(b *testing.B) {
	benchmark(b, []byte(strings.ReplaceAll(sample, `,"`, `, "`)))
}

func BenchmarkStringifyReordered(b *testing.B) {
	benchmark(b, []byte(strings.Replace(sample, `"priority"`, `"1"`, 1)))
}

func BenchmarkStringifyManyMembers(b *testing.B) {
	var text strings.Builder
	text.WriteString(`{"a":0`)
	for i := range 5000 {
		fmt.Fprintf(&text, `,"%d":%d`, 5000-i, i)
	}
	text.WriteString(`}`)
	benchmark(b, []byte(text.String()))
}
