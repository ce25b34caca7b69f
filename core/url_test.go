package core_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// One origin has many spellings, and no other one.
func TestN1OneOriginHasManySpellings(t *testing.T) {
	for _, same := range [][2]string{
		{"http://Peer.Example/a", "http://peer.example:80/b"},
		{"https://peer.example/", "https://PEER.example:443"},
		{"http://[2001:db8::1]:1/", "http://[2001:DB8::1]:1/x"},
	} {
		a, _ := url.Parse(same[0])
		b, _ := url.Parse(same[1])
		if core.Origin(a) != core.Origin(b) {
			t.Errorf("%s and %s are two origins, want one", a, b)
		}
	}
	for _, two := range [][2]string{
		{"http://peer.example/", "https://peer.example/"},
		{"http://peer.example/", "http://peer.example:443/"},
		{"http://peer.example/", "http://peer.example.org/"},
		{"https://peer.example/", "https://peer.example./"},
	} {
		a, _ := url.Parse(two[0])
		b, _ := url.Parse(two[1])
		if core.Origin(a) == core.Origin(b) {
			t.Errorf("%s and %s are one origin, want two", a, b)
		}
	}
}

// A gateway's URL is read in one plain form, and what is no such URL is refused.
func TestGatewayURL(t *testing.T) {
	for text, want := range map[string]string{
		" https://Peer.Example/ ":         "https://peer.example",
		"http://peer.example:18790/Ogp//": "http://peer.example:18790/Ogp",
		"http://[2001:DB8::1]:1":          "http://[2001:db8::1]:1",
		"peer.example":                    "",
		"ftp://peer.example":              "",
		"https://":                        "",
		"https://ada@peer.example":        "",
		"https://peer.example?x":          "",
		"https://peer.example?x=1":        "",
		"https://peer.example#x":          "",
		"https://a.example/" + strings.Repeat("a", core.MaxURLBytes): "",
	} {
		got, err := core.GatewayURL(text)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, core.Malformed) {
			t.Errorf("GatewayURL(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}
