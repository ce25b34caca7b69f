package envelope_test

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core/keys"
)

// testKey returns the nth of some fixed keys.
func testKey(n byte) keys.Private {
	k, err := keys.FromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		panic(err)
	}
	return k
}

// v2 signs a text as the v2 form does, for a purpose.
func v2(k keys.Private, ctx, text string) string {
	return k.Signature([]byte("\xff" + ctx + "\x00" + text))
}

// signedBy is a text with its signature.
type signedBy struct {
	PayloadStr string `json:"payloadStr"`
	Signature  string `json:"signature"`
}

// A part is one member of an object.
type part struct {
	name  string
	value jsontext.Value
}

// split reads an object's members in their order.
func split(tb testing.TB, object []byte) (parts []part) {
	tb.Helper()
	d := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := d.ReadToken(); err != nil {
		tb.Fatal(err)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			tb.Fatal(err)
		}
		p := part{name: name.String()}
		v, err := d.ReadValue()
		if err != nil {
			tb.Fatal(err)
		}
		p.value = v.Clone()
		parts = append(parts, p)
	}
	return parts
}

// join writes members back as an object.
func join(parts []part) []byte {
	out := []byte{'{'}
	for i, p := range parts {
		if i > 0 {
			out = append(out, ',')
		}
		out, _ = jsontext.AppendQuote(out, p.name)
		out = append(append(out, ':'), p.value...)
	}
	return append(out, '}')
}

// valueOf returns a member's value, or nil.
func valueOf(tb testing.TB, object []byte, name string) jsontext.Value {
	tb.Helper()
	for _, p := range split(tb, object) {
		if p.name == name {
			return p.value
		}
	}
	return nil
}

// textOf returns a member that is a string.
func textOf(tb testing.TB, object []byte, name string) (s string) {
	tb.Helper()
	v := valueOf(tb, object, name)
	if v == nil {
		tb.Fatalf("no member %q in %s", name, object)
	}
	if err := json.Unmarshal(v, &s); err != nil {
		tb.Fatal(err)
	}
	return s
}

// without returns the object less a member.
func without(tb testing.TB, object []byte, name string) []byte {
	tb.Helper()
	var kept []part
	for _, p := range split(tb, object) {
		if p.name != name {
			kept = append(kept, p)
		}
	}
	return join(kept)
}

// with returns the object with a member set: in its place, or at the end.
func with(tb testing.TB, object []byte, name string, value any) []byte {
	tb.Helper()
	v, ok := value.(jsontext.Value)
	if !ok {
		var err error
		if v, err = json.Marshal(value); err != nil {
			tb.Fatal(err)
		}
	}
	parts := split(tb, object)
	for i := range parts {
		if parts[i].name == name {
			parts[i].value = v
			return join(parts)
		}
	}
	return join(append(parts, part{name, v}))
}

// must is what a key of our own signs, which never fails.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
