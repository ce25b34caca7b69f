package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

// insides is what people need not know to read what we print: types and packages of Go,
// names of libraries, temporary files, and places that a parser has counted.
var insides = regexp.MustCompile(`(?i:strconv|\bparse (error|")|invalid syntax|value out of range|unmarshal|marshal|\bGo (value|type|struct)|` +
	`\b(u?int(8|16|32|64)|float64|bool value|\[\]byte|\[\]string|map\[string\]\S*|interface \{|struct \{|nil pointer|runtime error|goroutine|panic)|` +
	`jsontext|base64 data|input byte|byte offset|\boffset \d|position \d|at byte \d|U\+00|` +
	`net/url|first path segment|missing protocol scheme|\bdial tcp|context deadline|context canceled|unexpected EOF|: EOF|archive/|encoding/|` +
	`\b(cobra|pflag|koanf|fiber|wazero|modernc|renameio|huh|bubbletea)\b|arg\(s\)|shorthand|/\.try-|%!|<nil>|=.*MISSING)|` +
	`(^|[ :])(json|toml|asn1|x509|hex|gzip|tar|sqlite|strconv|meter): |core\.[A-Z]|[a-z]\.[A-Z]\w*Error\b`)

// inWords runs one command line against the state directory home.
func inWords(home, in string, env []string, args ...string) (code int, said string) {
	var out, errs bytes.Buffer
	a := &cli.App{In: strings.NewReader(in), Out: &out, Err: &errs, Env: append([]string{"HOME=" + home, "OGP_HOME=" + filepath.Join(home, "state"), "OGP_NETWORK_ALLOW_PRIVATE=127.0.0.0/8"}, env...)}
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	code = run(ctx, a, args)
	return code, out.String() + errs.String()
}

// plain fails unless a command line failed, in words.

func plain(t *testing.T, home, in string, env []string, args ...string) {
	t.Helper()
	code, said := inWords(home, in, env, args...)
	said = strings.ReplaceAll(said, home, "HOME")
	if code == 0 || said == "" {
		t.Errorf("ogp %.300q %q: exit status %d, %q, want a refusal", args, env, code, said)
	}
	if found := insides.FindString(said); found != "" {
		t.Errorf("ogp %.300q %q speaks of %q:\n%s", args, env, found, said)
	}
}

// badValues are what people write in the place of a value.
var badValues = []string{"", "many", "-1", "1.5", "99999999999999999999", "0x10", "1 2", "{", "[", "\"", "\x00", "\xff", "tru", "10/", "/10", "10/0", "10/99999d", "5x", "1d-1h", "9999999d",
	"http://", "http:// x", "://", "http://[::1", "http://a b", "http://a:99999", "%zz", "10.0.0.0/99", "10.0.0/8", "a@b", "${", "$X", "file:x", "2027-13-40", "2027-01-31T25:00:00Z"}

// TestBadSettingsArePlain gives each setting what it cannot have: as a flag, in the
// environment, in files of both forms, and with "config set".
func TestBadSettingsArePlain(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "config.toml")
	refused := 0
	for n, s := range config.Settings() {
		for m, v := range badValues {
			texts := map[string]string{}
			if _, _, err := config.TOML(s.Key, v); err != nil {
				texts["config set "+s.Key+" "+v] = err.Error()
			}
			whole := v == "" || s.Key == "daemon_port" || (n+m)%8 == 0 // the files of each are too many
			literals := []string{`"` + strings.NewReplacer(`"`, `\"`, "\x00", `\u0000`).Replace(v) + `"`}
			switch {
			case s.Key == "daemon_port": // what is no TOML is none for every key
				literals = append(literals, v, "0x1g", "9999999999999999999999")
			case v == "":
				literals = append(literals, "1.5", "{ a = 1 }", "[[1]]", "1979-05-27T07:32:00Z", "inf")
			}
			if !whole {
				literals = nil
			}
			for i, literal := range literals {
				if err := os.WriteFile(file, []byte(s.Key+" = "+literal+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				_, _, _, err := config.Load(config.Options{Home: home, Env: []string{"HOME=" + home}})
				if err != nil {
					texts[fmt.Sprintf("%s = %q (%d)", s.Key, literal, i)] = err.Error()
				}
			}
			if s.Env != "" && whole && !strings.Contains(v, "\x00") {
				if _, _, _, err := config.Load(config.Options{Home: filepath.Join(home, "none"), Env: []string{"HOME=" + home, s.Env + "=" + v}}); err != nil {
					texts[s.Env+"="+v] = err.Error()
				}
			}
			for what, said := range texts {
				refused++
				if found := insides.FindString(strings.ReplaceAll(said, home, "HOME")); found != "" {
					t.Errorf("%s speaks of %q: %s", what, found, said)
				}
			}
		}
	}
	if refused < 1000 {
		t.Errorf("%d values were refused, want most of them", refused)
	}
}

// TestBadInputIsPlain types, pipes and pastes what is no input, with a daemon and
// without: each is refused in words of the field.
func TestBadInputIsPlain(t *testing.T) {
	home := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	junk := write("junk", "\x00\x01junk\xff{")
	empty := write("empty", "")
	halfJSON := write("half.json", `{"a": [1, {"b": "c`)
	wrongJSON := write("wrong.json", `{"input": 5, "hook": [1]}`)
	aFile := write("file", "x")
	wasm := write("x.wasm", "\x00asm\x01\x00\x00\x00\xff\xff")
	toml := write("bad.toml", "gateway_url = https://a\n")
	jsonConfig := write("bad.json", `{"daemonPort": "x", }`)
	deep := write("deep.json", strings.Repeat("[", 100000))

	state := filepath.Join(home, "state")
	off := [][]string{
		{"config", "check", "--config", junk}, {"config", "check", "--config", toml}, {"config", "check", "--config", jsonConfig}, {"config", "check", "--config", deep},
		{"config", "check", "--config", home}, {"config", "show", "--config", filepath.Join(home, "nowhere.toml")}, {"config", "check", "--config", halfJSON},
		{"config", "set", "daemon_port"}, {"config", "set"}, {"config", "set", "daemon_port", "1", "2"}, {"config", "unset"},
		{"config", "set", "--config", filepath.Join(aFile, "config.toml"), "email", "a@b.example"}, {"config", "set", "--config", filepath.Join(home, "nowhere", "x", "config.toml"), "email", "\x00"},
		{"start", "--daemon-port"}, {"start", "--daemon-port=x"}, {"start", "-z"}, {"start", "-"}, {"start", "--log-level", "loud"}, {"start", "--tls-cert", junk, "--tls-key", junk},
		{"start", "--gateway-url", "http://[::1"}, {"start", "--config", home}, {"start", "--home", aFile},
		{"--home", aFile, "status"}, {"--home", aFile, "doctor"}, {"--home", aFile, "whoami"}, {"--home", "~nobody/x", "status"},
		{"restore", junk}, {"restore", empty}, {"restore", filepath.Join(home, "nowhere")}, {"restore", home}, {"restore"}, {"backup", filepath.Join(aFile, "b.tar.gz")}, {"backup"},
		{"import", aFile}, {"import", filepath.Join(home, "nowhere")}, {"import"},
		{"key", "seal", "--new-passphrase-file", filepath.Join(home, "nowhere")}, {"key", "unseal"},
		{"plugin", "inspect", wasm}, {"plugin", "inspect", junk}, {"plugin", "inspect", empty}, {"plugin", "inspect", home}, {"plugin", "install", wasm}, {"plugin", "install", filepath.Join(home, "nowhere")},
		{"plugin", "run", wasm, "--case", halfJSON}, {"plugin", "test", wasm}, {"plugin", "bench", wasm, "--case", wrongJSON, "--for", "x"}, {"plugin", "run", "openclaw", "--case", halfJSON},
		{"plugin", "run", "openclaw", "--case", wrongJSON}, {"plugin", "run", "openclaw", "--case", deep}, {"plugin", "new", "Bad Name", "--lang", "go"}, {"plugin", "new", "x", "--lang", "cobol"},
		{"man", filepath.Join(aFile, "x")}, {"logs", "--since", "x"}, {"logs", "--level", "x"}, {"rendezvous", "--listen", "x"}, {"rendezvous", "--listen", "127.0.0.1:99999"},
		{"service", "install", "--run-as"}, {"init", "--email", "x y"}, {"init", "--gateway-url", "ht!tp"}, {"init", "--rendezvous-url", "a b"}, {"demo", "x"}, {"completion", "tcsh"},
		{"notify", "use", "webhook", "--url", "http://[::1"}, {"notify", "use", "webhook", "--url", "x"}, {"notify", "use", "nothing"}, {"notify", "use", "ntfy", "--url", "://"},
		{"conformance", "http://[::1"}, {"conformance", "x y"}, {"conformance"}, {"agent", "install", "nothing"}, {"mcp", "x"},
		{"federation", "list", "--status"}, {"nonsense"}, {"federation", "nonsense"}, {"--json=x", "status"}, {"--", "x"}, {"help", "nonsense", "x"},
	}
	for _, args := range off {
		plain(t, home, "", nil, args...)
	}
	for _, env := range []string{"OGP_DAEMON_PORT=x", "OGP_NETWORK_ALLOW_PRIVATE=10.0.0/8", "OGP_HOME=relative", "OGP_FRESHNESS_WINDOW=soon", "OGP_RENDEZVOUS_ENABLED=perhaps", "OGP_KEY_PASSPHRASE_FILE=" + filepath.Join(home, "nowhere"), "OGP_DAEMON_PROT=1"} {
		plain(t, home, "", []string{env}, "start", "--daemon-port", "0", "--listen", "127.0.0.1", "--tls-cert", "x", "--tls-key", "x")
	}

	stop := runs(t, home, state)
	defer stop()
	on := [][]string{
		{"federation", "request", "http://[::1"}, {"federation", "request", "http://a b"}, {"federation", "request", "x"}, {"federation", "request", ""}, {"federation", "request", "http://127.0.0.1:1"},
		{"federation", "request", "http://127.0.0.1:99999"}, {"federation", "request", "https://127.0.0.1:1/%zz"}, {"federation", "request", "ftp://a.example"}, {"federation", "request", "http://nowhere.invalid"},
		{"federation", "request", "http://127.0.0.1:1", "--alias", "a b\x00"}, {"federation", "request"}, {"federation", "request", "http://127.0.0.1:1", "--key", "zz"},
		{"federation", "approve", "nobody"}, {"federation", "approve", "nobody", "--rate", "x"}, {"federation", "approve", "nobody", "--expires", "x"}, {"federation", "approve", "nobody", "--bytes", "x"}, {"federation", "approve", "nobody", "--intents", "a b"},
		{"federation", "approve", ""}, {"federation", "approve", "\xff"}, {"federation", "alias", "nobody", "a"}, {"federation", "show", "nobody"}, {"federation", "ping", "nobody"}, {"federation", "ping", "http://127.0.0.1:1"},
		{"federation", "tag", "nobody", "A B"}, {"federation", "pause", "nobody"}, {"federation", "level", "nobody", "x", "full"}, {"federation", "grant", "nobody", "--rate", "1/"}, {"federation", "connect", "zz"}, {"federation", "connect", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"},
		{"federation", "connect", strings.Repeat("0", 64)}, {"federation", "accept", "not a code!"}, {"federation", "accept", "abc123-http://127.0.0.1:1"}, {"federation", "accept", ""}, {"federation", "invite", "--expires", "x"}, {"federation", "invite"},
		{"federation", "send", "nobody", "message", "x"}, {"federation", "send", "nobody", "wild", "{"}, {"federation", "send", "nobody", "wild", `{"a":1}x`}, {"federation", "send", "nobody", "wild", "[1,"}, {"federation", "send", "nobody", "task", "{\"a\": tru}"}, {"federation", "send"},
		{"federation", "agent", "nobody", "t", "x", "--timeout", "x"}, {"federation", "agent", "nobody", "t", "x", "--timeout", "1000", "--wait"},
		{"inbox", "show", "nothing"}, {"inbox", "show", "\x00"}, {"inbox", "reply", "nothing", "x"}, {"inbox", "reply", "last", "x"}, {"inbox", "list", "--since", "x"}, {"inbox", "list", "--limit", "x"}, {"inbox", "list", "--limit", "-5"}, {"inbox", "release", "nothing"}, {"inbox", "deny", "nothing"},
		{"outbox", "show", "nothing"}, {"outbox", "retry", "nothing"}, {"outbox", "cancel", "nothing"}, {"outbox", "--state", "x"}, {"delivery", "retry", "nothing"}, {"delivery", "drop", "nothing"},
		{"events", "--since", "x"}, {"events", "--type", "x"}, {"plugin", "kv", "nothing"}, {"plugin", "reload", "nothing"}, {"plugin", "remove", "nothing"}, {"plugin", "install", wasm, "--yes"}, {"plugin", "install", junk, "--yes"},
		{"notify", "test", "nothing"}, {"policy", "explain", "nothing"}, {"policy", "replay", "--since", "x"}, {"status", "--watch=x"}, {"doctor", "--peer", "nobody"}, {"backup", filepath.Join(aFile, "b")}, {"peers", "export", "x"},
		{"start", "--background"}, {"restore", junk},
	}
	for _, args := range on {
		plain(t, home, "", nil, args...)
	}
	for _, in := range []string{"", "\x00\x01", `{"a":`, strings.Repeat("x", 2<<20)} {
		plain(t, home, in, nil, "federation", "send", "nobody", "task", "-")
		plain(t, home, in, nil, "plugin", "run", "openclaw", "--case", "-")
	}
}

// FuzzWordsStayPlain types anything in the place of what a command takes.
func FuzzWordsStayPlain(f *testing.F) {
	for _, v := range badValues {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		texts := []error{}
		add := func(_ any, err error) { texts = append(texts, err) }
		add(cli.GatewayURL(v))
		add(cli.ParseSince(v))
		for _, key := range []string{"daemon_port", "gateway_url", "network.allow_private", "freshness.window", "grants.default.rate", "grants.default.bytes", "intents", "openclaw_token", "rendezvous.enabled", "agent_comms.topics"} {
			_, _, err := config.TOML(key, v)
			texts = append(texts, err)
		}
		for _, err := range texts {
			if err == nil {
				continue
			}
			view, _ := cli.Describe(err)
			said := strings.ReplaceAll(view.Message+"\n"+view.Hint, v, "")
			if found := insides.FindString(said); found != "" && !insides.MatchString(v) {
				t.Errorf("%q speaks of %q: %s", v, found, said)
			}
		}
	})
}

// runs starts a daemon in this process on a state directory, and returns what stops it.
func runs(t *testing.T, home, state string) (stop func()) {
	t.Helper()
	a := &cli.App{Err: &bytes.Buffer{}, Env: []string{"HOME=" + home, "OGP_HOME=" + state, "OGP_DAEMON_PORT=0", "OGP_LISTEN=127.0.0.1", "OGP_NETWORK_ALLOW_PRIVATE=127.0.0.0/8"}}
	o, err := a.DaemonOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	o.Ready = func(api.StatusView, bool) { close(ready) }
	d, err := daemon.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return func() {
		cancel()
		<-ended
		d.Close()
	}
}
