package cli_test

import (
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
)

// Commands that are shown act, typed as printed, on the gateway that the flags named.
func TestHere(t *testing.T) {
	for _, c := range []struct{ home, file, text, want string }{
		{"", "", `ogp init, or "ogp start"`, `ogp init, or "ogp start"`},
		{"a", "", `ogp init, or "ogp start"`, `ogp --home a init, or "ogp --home a start"`},
		{"my state", "b.toml", `then "ogp stop"`, `then "ogp --home 'my state' --config b.toml stop"`},
		{"a", "", `ogpx "ogpx"`, `ogpx "ogpx"`},
		{"a", "", "ogp stop\nogp start", "ogp --home a stop\nogp --home a start"},
		{"a", "", `ogp --home a stop, then "ogp --home a start"`, `ogp --home a stop, then "ogp --home a start"`},
		{"a", "", "its operator runs: ogp whoami", "its operator runs: ogp whoami"},
	} {
		a := &cli.App{Home: c.home, File: c.file}
		if got := a.Here(c.text); got != c.want {
			t.Errorf("Here(%q) with --home %q = %q, want %q", c.text, c.home, got, c.want)
		}
	}
	a := &cli.App{Home: "100% mine"}
	var out strings.Builder
	a.Sayf(&out, "%s: \"ogp start\"", `"ogp stop"`)
	if want := `"ogp stop": "ogp --home '100% mine' start"`; out.String() != want {
		t.Errorf("Sayf = %s, want %s: what others say stays as it is", &out, want)
	}
	a = &cli.App{Home: "a"}
	if got := a.Command("config", "set", "display_name", "Ada L"); got != "ogp --home a config set display_name 'Ada L'" {
		t.Errorf("Command = %q", got)
	}
}
