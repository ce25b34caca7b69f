package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin/lookup"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// TestP1URL holds a grant to its scheme, host, port and path, whatever way the URL is written.
func TestP1URL(t *testing.T) {
	within := func(grant, raw string) bool {
		g, err := parseGrant(HTTPGrant{URL: grant})
		if err != nil {
			t.Fatal(err)
		}
		u, host, err := parseURL(raw)
		return err == nil && g.holds(u.Scheme, host, u.Path)
	}
	for _, c := range []struct {
		grant, url string
		want       bool
	}{
		{"https://a.example/hooks/", "https://a.example/hooks/x", true},
		{"https://a.example/hooks/", "https://a.example/hooks", true},
		{"https://a.example/hooks", "https://a.example/hooks/x/y?z=../..", true},
		{"https://a.example/hooks", "https://a.example:443/hooks", true},
		{"https://A.Example", "https://a.eXample/any", true},
		{"https://a.example/", "https://a.example", true},
		{"http://[::1]:80/", "http://[::1]/", true},
		{"https://a.example/caf%C3%A9", "https://a.example/caf%c3%a9/x", true},
		{"https://a.example/hooks", "https://a.example/hooksx", false},
		{"https://a.example/hooks", "https://a.example/hook", false},
		{"https://a.example/hooks", "https://a.example/Hooks", false},
		{"https://a.example/hooks", "https://a.example/", false},
		{"https://a.example/hooks", "http://a.example/hooks", false},
		{"https://a.example/hooks", "https://a.example:8443/hooks", false},
		{"https://a.example/hooks", "https://a.example./hooks", false},
		{"https://a.example/hooks", "https://b.a.example/hooks", false},
		{"https://a.example/hooks", "https://a.example.evil/hooks", false},
		{"https://a.example/hooks", "https://a.example@evil/hooks", false},
		{"https://a.example/hooks", "https://evil/@a.example/hooks", false},
		{"https://a.example/hooks", "https://user:pw@a.example/hooks", false},
		{"https://a.example/hooks", "https://a.example\\@evil/hooks", false},
		{"https://a.example/hooks", "https:\\\\a.example/hooks", false},
		{"https://a.example/hooks", "https:a.example/hooks", false},
		{"https://a.example/hooks", "//a.example/hooks", false},
		{"https://a.example/hooks", "HTTPS://a.example/hooks", true},
		{"https://a.example/hooks", "https://a.example/hooks/../x", false},
		{"https://a.example/hooks", "https://a.example/hooks/..", false},
		{"https://a.example/hooks", "https://a.example/x/../hooks", false},
		{"https://a.example/hooks", "https://a.example/hooks/./x", false},
		{"https://a.example/hooks", "https://a.example/hooks//x", false},
		{"https://a.example/hooks", "https://a.example//hooks", false},
		{"https://a.example/hooks", "https://a.example/hooks/%2e%2e/x", false},
		{"https://a.example/hooks", "https://a.example/hooks/%2E./x", false},
		{"https://a.example/hooks", "https://a.example/hooks%2f..%2fx", false},
		{"https://a.example/hooks", "https://a.example/hooks/%252e%252e/x", false},
		{"https://a.example/hooks", "https://a.example/hooks/..%5cx", false},
		{"https://a.example/hooks", "https://a.example/hooks/..\\x", false},
		{"https://a.example/hooks", "https://a.example/hooks/%00", false},
		{"https://a.example/hooks", "https://a.example/hooks\x00", false},
		{"https://a.example/hooks", "https://a.example/hooks\n", false},
		{"https://a.example/hooks", " https://a.example/hooks", false},
		{"https://a.example/hooks", "https://a.example/hooks#x", false},
		{"https://a.example/hooks", "https://a.example:/hooks", false},
		{"https://a.example/hooks", "https://a.example:port/hooks", false},
		{"https://a.example/hooks", "https://а.example/hooks", false},
		{"https://a.example/hooks", "https://%61.example/hooks", false},
		{"http://[fe80::1]/", "http://[fe80::1%25eth0]/", false},
		{"https://a.example/hooks", "file:///hooks", false},
		{"https://a.example/hooks", "", false},
	} {
		if got := within(c.grant, c.url); got != c.want {
			t.Errorf("%s allows %q = %v, want %v", c.grant, c.url, got, c.want)
		}
	}
}

// FuzzURL has what a grant holds mean the same to net/http: the same host and a path below the grant's, also
// after a server has cleaned it.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"https://a.example/hooks/x", "https://a.example/hooks/../x", "https://a.example/hooks/%2e%2e/x", "https://a.example@b/hooks", "https://a.example:443/hooks?x#y"} {
		f.Add(s)
	}
	g, err := parseGrant(HTTPGrant{URL: "https://a.example/hooks"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, host, err := parseURL(raw)
		if err != nil || !g.holds(u.Scheme, host, u.Path) {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Scheme != "https" || !strings.EqualFold(again.Hostname(), "a.example") || again.User != nil {
			t.Errorf("%q becomes %q", raw, u)
		}
		for p := again.EscapedPath(); ; {
			clean := path.Clean(p)
			if clean != "/hooks" && !strings.HasPrefix(clean, "/hooks/") {
				t.Errorf("%q has the path %q", raw, clean)
			}
			next, err := url.PathUnescape(p)
			if err != nil || next == p {
				return
			}
			p = next
		}
	})
}

// FuzzLookup compares lookup with a real decoder, and never reads outside of what it was given.
func FuzzLookup(f *testing.F) {
	f.Add([]byte(`{"a":{"b":"c"}}`), "a.b")
	f.Add([]byte(`{"a":[1,"x",null,{"y":[2]}],"b":"\u00e9\n"}`), "a")
	f.Add([]byte(`{"a\u002e":{},"":{"":1}}`), "")
	f.Add([]byte(`{"a":{"b":tru`), "a.b")
	f.Add([]byte(`{"a":"\`), "a")
	f.Add([]byte(`{ "a" : -1.5e3 , "b" : [ ] }`), "b")
	f.Fuzz(func(t *testing.T, doc []byte, name string) {
		got, ok := lookup.Path(bytes.Clone(doc), []byte(name))
		var d lookup.Doc
		d.Set(doc)
		for range 2 { // the second time from where the first was
			if g, found := d.Path([]byte(name)); found != ok || !bytes.Equal(g, got) {
				t.Errorf("%s at %q = %q, %v; at first %q, %v", doc, name, g, found, got, ok)
			}
		}
		part := lookup.PartOf([]string{name}).Append(nil, doc)
		if json.Unmarshal(doc, new(map[string]any)) == nil && !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c == '"' || c == '\\' || c == utf8.RuneError }) {
			if g, found := lookup.Path(part, []byte(name)); found != ok || !bytes.Equal(g, got) || !jsontext.Value(part).IsValid() {
				t.Errorf("%q of %s = %s: %q, %v; want %q, %v", name, doc, part, g, found, got, ok)
			}
		}
		var want any
		if json.Unmarshal(doc, &want) != nil {
			return // only that it does not panic
		}
		for part := range strings.SplitSeq(name, ".") {
			m, _ := want.(map[string]any)
			want = m[part]
		}
		switch w := want.(type) {
		case nil:
			if ok {
				t.Errorf("%s at %q = %q, want nothing", doc, name, got)
			}
		case string:
			if !ok || string(got) != w {
				t.Errorf("%s at %q = %q, want %q", doc, name, got, w)
			}
		case bool:
			if string(got) != fmt.Sprint(w) {
				t.Errorf("%s at %q = %q, want %v", doc, name, got, w)
			}
		case float64, map[string]any:
			if !jsontext.Value(got).IsValid() {
				t.Errorf("%s at %q = %q", doc, name, got)
			}
		case []any:
			if lines := strings.Count(string(got), "\n"); len(w) > 0 && lines < len(w)-1 {
				t.Errorf("%s at %q = %q, want %d lines", doc, name, got, len(w))
			}
		}
	})
}

// What a plugin reads of its input is what its manifest names, and what it asks the host for is all there is.
func TestPartOfTheInput(t *testing.T) {
	doc := `{"kind":"message","message":{"id":"n","payload":{"text":"}\"hi"},"topic":null},"peer":{"tags":["a"],"names":{}}}`
	for paths, want := range map[string]string{
		"kind":                           `{"kind":"message"}`,
		"message.payload message.topic":  `{"message":{"payload":{"text":"}\"hi"},"topic":null}}`,
		"peer.tags message.payload.text": `{"message":{"payload":{"text":"}\"hi"}},"peer":{"tags":["a"]}}`,
		"message message.id":             `{"message":{"id":"n","payload":{"text":"}\"hi"},"topic":null}}`,
		"message.id message":             `{"message":{"id":"n","payload":{"text":"}\"hi"},"topic":null}}`,
		"kind.x request message.id.x":    `{"message":{}}`,
	} {
		if got := string(lookup.PartOf(strings.Fields(paths)).Append(nil, []byte(doc))); got != want {
			t.Errorf("%s: %s, want %s", paths, got, want)
		}
	}
}

// TestD3NotCompiled has a load that cannot compile now fail as something that passes.
func TestD3NotCompiled(t *testing.T) {
	cause := &core.Error{Kind: core.Unavailable, RetryAfter: 10 * time.Second}
	if e := notCompiled("x", cause); !errors.Is(e, core.Unavailable) || e.RetryAfter != cause.RetryAfter {
		t.Errorf("%v, %v", e, e.RetryAfter)
	}
}

func TestNearest(t *testing.T) {
	for written, want := range map[string]string{"nam": "name", "hook": "hooks", "intent": "intents", "selftests": "selftest"} {
		if got, _ := text.Nearest(written, manifestKeys[""]); got != want {
			t.Errorf("nearest(%q) = %q, want %q", written, got, want)
		}
	}
}
