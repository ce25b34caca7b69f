package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

func TestGatewayURLAsPeoplePasteIt(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.example":                           "https://a.example",
		" https://a.example/ ":                        "https://a.example",
		"<https://a.example/.well-known/ogp>":         "https://a.example",
		"\"https://a.example/ogp/.well-known/ogp/\",": "https://a.example/ogp",
		"a.example":                 "https://a.example",
		"a.example:8443/x":          "https://a.example:8443/x",
		"localhost:18790":           "http://localhost:18790",
		"127.0.0.1:1":               "http://127.0.0.1:1",
		"[::1]:1":                   "http://[::1]:1",
		"https://a.example?utm=1#x": "https://a.example",
	} {
		if got, err := GatewayURL(in); err != nil || got != want {
			t.Errorf("GatewayURL(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	var usage UsageError
	for _, in := range []string{"", "ben", "ada@a.example", "ftp://a.example", "https://ada@a.example", "https://"} {
		if got, err := GatewayURL(in); !errors.As(err, &usage) {
			t.Errorf("GatewayURL(%q) = %q, %v, want a usage error", in, got, err)
		}
	}
}

func TestPublicKeyAsPeoplePasteIt(t *testing.T) {
	const raw = "a7febe3bfff449857fca220157f8115574986746555596592ba800bde8d098d4"
	want := core.SPKIPrefix + raw
	for _, in := range []string{
		want, strings.ToUpper(want), raw, " " + raw[:32] + "\n  " + raw[32:] + " ",
		"MCowBQYDK2VwAyEAp/6+O//0SYV/yiIBV/gRVXSYZ0ZVVZZZK6gAvejQmNQ=",
		"MCowBQYDK2VwAyEAp_6-O__0SYV_yiIBV_gRVXSYZ0ZVVZZZK6gAvejQmNQ",
		"p/6+O//0SYV/yiIBV/gRVXSYZ0ZVVZZZK6gAvejQmNQ=",
		"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAp/6+O//0SYV/yiIBV/gRVXSYZ0ZVVZZZK6gAvejQmNQ=\n-----END PUBLIC KEY-----",
	} {
		if got, err := PublicKey(in); err != nil || got != want {
			t.Errorf("PublicKey(%q) = %q, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "K7QF-3MZA", raw[:62], raw + "00", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"} {
		if got, err := PublicKey(in); err == nil {
			t.Errorf("PublicKey(%q) = %q, want an error", in, got)
		}
	}
}

func TestInviteAsPeoplePasteIt(t *testing.T) {
	for in, want := range map[string]string{
		"a3f7k2":                            "a3f7k2",
		" “a3f7k2–K7QF–3MZA–PR4T”. ":        "a3f7k2-K7QF-3MZA-PR4T",
		"ogp federation accept a3f7k2":      "a3f7k2",
		"a3f7k2-K7QF-\n3MZA-PR4T":           "a3f7k2-K7QF-3MZA-PR4T",
		"<https://r.example/i#a3f7k2-K7QF>": "https://r.example/i#a3f7k2-K7QF",
	} {
		if got := Invite(strings.Split(in, " ")); got != want {
			t.Errorf("Invite(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestArgumentReadsStandardInput(t *testing.T) {
	a := &App{In: strings.NewReader("\ufeffhello\nthere\r\n")}
	if got, err := a.Argument("-"); err != nil || got != "hello\nthere" {
		t.Errorf("Argument(-) = %q, %v", got, err)
	}
	if got, err := a.Argument("x"); err != nil || got != "x" {
		t.Errorf("Argument(x) = %q, %v", got, err)
	}
}
