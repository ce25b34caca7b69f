package envelope_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

// TestL2Strict: bodies and signed texts that readers understand differently are
// refused, whoever signed them.
func TestL2Strict(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	// Each is a payload; it makes the message around it unreadable.
	bad := map[string]string{
		"duplicate name":              `{"a":1,"a":2}`,
		"duplicate name, by escape":   `{"a":1,"\u0061":2}`,
		"duplicate name, deep":        `[[{"a":1,"a":1}]]`,
		"invalid UTF-8":               "\"\xff\"",
		"overlong UTF-8":              "\"\xc0\x80\"",
		"surrogate in UTF-8":          "\"\xed\xa0\x80\"",
		"lone high surrogate":         `"\ud800"`,
		"lone low surrogate":          `"\udc00"`,
		"surrogates in the wrong way": `"\udc00\ud800"`,
		"control character":           "\"\x01\"",
		"unknown escape":              `"\x41"`,
		"NaN":                         `NaN`,
		"leading zero":                `01`,
		"leading plus":                `+1`,
		"comment":                     `/**/1`,
		"trailing comma":              `[1,]`,
		"single quotes":               `'a'`,
		"too deep":                    nested(32),
	}
	good := map[string]string{
		"as deep as it goes": nested(30),
		"surrogate pair":     `"\ud83e\udd9d"`,
		"NUL, escaped":       `"\u0000"`,
		"big number":         `1e400`,
		"names by case":      `{"a":1,"A":2}`,
		"empty name":         `{"":1}`,
		"__proto__":          `{"__proto__":1,"constructor":2}`,
	}
	object := func(payload string) string {
		return `{"intent":"message","from":"` + aliceKey.ID() + `","to":"` + bobKey.ID() + `","nonce":"n","timestamp":"` + core.FormatTime(now) + `","payload":` + payload + `}`
	}
	quote := func(s string) string {
		var b strings.Builder // by hand, as no library would write the invalid ones
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case c == '"' || c == '\\':
				b.WriteString(`\` + string(c))
			case c < 0x20:
				fmt.Fprintf(&b, `\u%04x`, c)
			default:
				b.WriteByte(c)
			}
		}
		return `"` + b.String() + `"`
	}
	open := func(body string) error {
		_, err := envelope.Open(opener(now), envelope.Message, []byte(body), findAlice)
		return err
	}
	for what, payload := range bad {
		m := object(payload)
		sig := alice.Signature([]byte(m))
		wantKind(t, what+", raw", open(`{"message":`+m+`,"signature":"`+sig+`"}`), core.Malformed)
		wantKind(t, what+", in both", open(`{"message":`+m+`,"messageStr":`+quote(m)+`,"signature":"`+sig+`"}`), core.Malformed)
		wantKind(t, what+", in the text", open(`{"message":`+object(`1`)+`,"messageStr":`+quote(m)+`,"signature":"`+sig+`"}`), core.Malformed)
		wantKind(t, what+", beside", open(`{"message":`+object(`1`)+`,"more":`+payload+`,"signature":"`+alice.Signature([]byte(object(`1`)))+`"}`), core.Malformed)
	}
	for what, payload := range good {
		m := object(payload)
		sig := alice.Signature([]byte(m))
		if err := open(`{"message":` + m + `,"signature":"` + sig + `"}`); err != nil {
			t.Errorf("%s, raw = %v, want no error", what, err)
		}
		if err := open(`{"message":` + m + `,"messageStr":` + quote(m) + `,"signature":"` + sig + `"}`); err != nil {
			t.Errorf("%s, in both = %v, want no error", what, err)
		}
	}
	for what, body := range map[string]string{
		"nothing": ``, "space": ` `, "a word": `null`, "an array": `[]`, "a number": `1`, "a string": `"x"`,
		"trailing text": `{"message":{},"signature":"x"}x`, "two values": `{}{}`, "a trailing NUL": "{}\x00", "a byte order mark": "\ufeff{}",
		"no end": `{"message":{`, "a form": `message=x`,
	} {
		wantKind(t, what, open(body), core.Malformed)
	}
}

// TestL2CaseCounts: a name in another case is another name.
func TestL2CaseCounts(t *testing.T) {
	for _, l := range samples {
		body := l.seal()
		for _, p := range split(t, body) {
			if p.name == "v2" || p.name == "signature" || l.shape != "message" && l.shape != "reply" && l.shape != "removed" && l.shape != "identity" && p.name != "payloadStr" && p.name != "signature" {
				continue // what it stands beside still opens
			}
			bent := strings.Replace(string(body), `"`+p.name+`":`, `"`+strings.ToUpper(p.name)+`":`, 1)
			got, err := l.open(opener(now), []byte(bent))
			if p.name == l.str && (l.shape == "message" || l.shape == "reply") && err == nil {
				// Without its text an envelope is read from the raw member, which says the same.
				if got.text != mustOpen(t, l, body).text {
					t.Errorf("%s without %s was read from %s", l.shape, p.name, got.text)
				}
				continue
			}
			if err == nil {
				t.Errorf("%s with %q in capitals = nil, want an error", l.shape, p.name)
			}
		}
	}
	m := `{"Intent":"message","INTENT":"x","from":"a","to":"b","nonce":"n","timestamp":"` + core.FormatTime(now) + `"}`
	_, err := envelope.Open(opener(now), envelope.Message, []byte(`{"message":`+m+`,"signature":"`+alice.Signature([]byte(m))+`"}`), findAlice)
	wantKind(t, "a message with Intent", err, core.Malformed)
}

// corpus reads a file of public hostile inputs, which are not part of this
// repository. OGP_CORPORA names the folder that has them.
func corpus(t *testing.T, file string, into any) {
	t.Helper()
	dir := os.Getenv("OGP_CORPORA")
	if dir == "" {
		t.Skip("OGP_CORPORA is not set: the public corpora of hostile inputs are not part of this repository")
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// TestL2JSONParsing: the cases of JSONTestSuite get its verdicts, but for the
// duplicate names that it leaves to the reader and we refuse.
func TestL2JSONParsing(t *testing.T) {
	var file struct {
		Cases map[string][]byte `json:"cases"`
	}
	corpus(t, "json-parsing.json", &file)
	if len(file.Cases) < 300 {
		t.Fatalf("%d cases, want the whole suite", len(file.Cases))
	}
	for name, text := range file.Cases {
		m := `{"intent":"message","from":"a","to":"b","nonce":"n","timestamp":"` + core.FormatTime(now) + `","payload":` + string(text) + `}`
		body := []byte(`{"message":` + m + `,"signature":"` + alice.Signature([]byte(m)) + `"}`)
		got, err := envelope.Open(opener(now), envelope.Message, body, findAlice)
		whole := len(strings.TrimSpace(string(text))) > 0
		switch {
		case strings.HasPrefix(name, "y_object_duplicated_key"), strings.HasPrefix(name, "n_") && whole && !closesEarly(text):
			wantKind(t, name, err, core.Malformed)
		case strings.HasPrefix(name, "y_") && err != nil:
			t.Errorf("%s = %v, want no error", name, err)
		}
		if err == nil && !jsontext.Value(got.Value.Payload).IsValid() {
			t.Errorf("%s was let in with the payload %q", name, got.Value.Payload)
		}
	}
}

// closesEarly reports whether a case that is no value by itself becomes a part of
// the object around it.
func closesEarly(text []byte) bool {
	return jsontext.Value(`{"a":` + string(text) + `}`).IsValid()
}

// TestNaughtyStrings: what breaks other programs goes through unharmed, in every
// field and in both forms.
func TestNaughtyStrings(t *testing.T) {
	var strs [][]byte
	corpus(t, "naughty-strings.base64.json", &strs)
	if len(strs) < 400 {
		t.Fatalf("%d strings, want the whole list", len(strs))
	}
	for _, b := range strs {
		roundTrip(t, strings.ToValidUTF8(string(b), "\uFFFD"))
	}
}

// TestRoundTrip: any text goes through unharmed.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip(t, rapid.String().Draw(t, "text")) })
}

type failer interface{ Errorf(string, ...any) }

// roundTrip seals envelopes that carry a text wherever one can stand, and opens
// them by v2, by the legacy text, and from the raw member.
func roundTrip(t failer, s string) {
	payload, err := json.Marshal(map[string]string{"text": s, s: "x"})
	if err != nil {
		t.Errorf("payload %q: %v", s, err)
		return
	}
	o := opener(now)
	m := core.Message{Intent: "message", From: s, To: s, ToAgent: s, Nonce: core.Nonce(s), ReplyTo: s, ConversationID: s, Payload: payload}
	body, err := sealer.SealMessage(bobKey, m)
	if err != nil {
		t.Errorf("seal message of %q: %v", s, err)
		return
	}
	m.Timestamp = core.FormatTime(now)
	for _, cut := range [][]string{nil, {"v2"}, {"v2", "messageStr"}} {
		got, err := envelope.Open(o, envelope.Message, less(body, cut...), findAlice)
		if err != nil || fmt.Sprint(got.Value) != fmt.Sprint(m) {
			t.Errorf("message of %q less %v = %+v, %v", s, cut, got.Value, err)
		}
	}
	r := core.Reply{Nonce: core.Nonce(s), Success: true, Data: payload, Error: s, From: s, To: s}
	if body, err = sealer.SealReply(bobKey, r); err != nil {
		t.Errorf("seal reply of %q: %v", s, err)
		return
	}
	r.Timestamp = core.FormatTime(now)
	for _, cut := range [][]string{nil, {"v2"}, {"v2", "replyStr"}} {
		got, err := envelope.Open(o, envelope.Reply, less(body, cut...), findAlice)
		if err != nil || fmt.Sprint(got.Value) != fmt.Sprint(r) {
			t.Errorf("reply of %q less %v = %+v, %v", s, cut, got.Value, err)
		}
	}
	c := card
	c.ID, c.DisplayName, c.Email, c.Organization = s, s, s, s
	body = must(sealer.SealRequest(bobKey, core.Request{Peer: c, OfferedIntents: []string{s}}))
	for _, cut := range [][]string{nil, {"v2"}, {"v2", "payloadStr"}} {
		got, err := envelope.Open(o, envelope.Request, less(body, cut...), nil)
		if len(cut) == 2 { // the plain form, which is signed over the peer alone
			if err == nil {
				t.Errorf("request of %q without its text = %+v, want an error", s, got.Value)
			}
			continue
		}
		if err != nil || got.Value.Peer != c || fmt.Sprint(got.Value.OfferedIntents) != fmt.Sprint([]string{s}) {
			t.Errorf("request of %q less %v = %+v, %v", s, cut, got.Value, err)
		}
	}
	id := core.Identity{ID: s, DisplayName: s, HumanName: "h" + s, Email: s, GatewayURL: s, PublicKey: aliceKey.String()}
	body = must(sealer.SealIdentity(bobKey, id))
	for _, cut := range [][]string{nil, {"v2"}} {
		got, err := envelope.Open(o, envelope.Identity, less(body, cut...), nil)
		if err != nil || got.Value != id {
			t.Errorf("identity of %q less %v = %+v, %v", s, cut, got.Value, err)
		}
	}
}

// less returns a body without some of its members.
func less(body []byte, names ...string) []byte {
	var fields map[string]jsontext.Value
	if err := json.Unmarshal(body, &fields); err != nil {
		panic(err)
	}
	for _, name := range names {
		delete(fields, name)
	}
	out, err := json.Marshal(fields, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return out
}
