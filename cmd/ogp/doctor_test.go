package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/doctor"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// site is a gateway's state directory, with or without a daemon in this process.
type site struct {
	t    *testing.T
	dir  string
	env  []string
	stop func()
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "ogp-doctor-") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, stop: func() {}, env: []string{"HOME=" + t.TempDir(), "OGP_NETWORK_ALLOW_PRIVATE=127.0.0.0/8",
		"OGP_LISTEN=127.0.0.1", "OGP_DAEMON_PORT=" + strconv.Itoa(ports.Free(t)), "OGP_OUTBOX_FIRST_RETRY=100ms", "OGP_DELIVERY_FIRST_RETRY=100ms"}}
	t.Cleanup(func() { s.stop(); os.RemoveAll(dir) })
	return s
}

// run runs a command line on the site.
func (s *site) run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	a := &cli.App{In: strings.NewReader(""), Out: &out, Err: &errs, Env: s.env}
	code = run(s.t.Context(), a, append(args, "--home", s.dir))
	return code, out.String(), errs.String()
}

// must runs a command line that succeeds.
func (s *site) must(args ...string) string {
	s.t.Helper()
	code, out, errs := s.run(args...)
	if code != cli.Done {
		s.t.Fatalf("ogp %s: exit status %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// start runs a daemon until the test ends or stop is called.
func (s *site) start(args ...string) api.StatusView {
	s.t.Helper()
	var log lockedBuffer
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	a := &cli.App{In: strings.NewReader(""), Out: &log, Err: &log, Env: s.env}
	go func() { done <- run(ctx, a, append([]string{"start", "--home", s.dir}, args...)) }()
	var once sync.Once
	s.stop = func() { once.Do(func() { cancel(); <-done }) }
	client := control.Dial(control.Path(s.dir))
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var v api.StatusView
		if client.Call(s.t.Context(), "status", nil, &v) == nil {
			return v
		}
		if len(done) > 0 || time.Now().After(deadline) {
			s.t.Fatalf("the daemon did not start:\n%s", log.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (s *site) write(name, text string, mode os.FileMode) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) chmod(name string, mode os.FileMode) {
	s.t.Helper()
	if err := os.Chmod(filepath.Join(s.dir, name), mode); err != nil {
		s.t.Fatal(err)
	}
}

// doctor runs the doctor and reads what it says.
func (s *site) doctor(args ...string) (int, doctor.View) {
	s.t.Helper()
	code, out, errs := s.run(append([]string{"doctor", "--json"}, args...)...)
	var v doctor.View
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		s.t.Fatalf("doctor: %v\n%s%s", err, out, errs)
	}
	return code, v
}

var (
	// goWords are words of libraries and of Go in what people read.
	goWords = regexp.MustCompile(`dial tcp|: lookup |x509: |tls: |bind: |listen tcp|(open|stat|lstat|read|mkdir|parse) ["/]\S+: (no such|permission|is a dir|not a dir|invalid)|strconv| json: |dial: `)
	// commandOfOurs is a command of this program, and its first word.
	commandOfOurs = regexp.MustCompile(`(?m)(?:^|[" ])ogp (--home|[a-z]+)`)
)

// finds demands that every check says what to do in plain words, and a check of a name and a state, whose text and whose fix have the
// patterns. A failed check makes the exit status 1.
func (s *site) finds(name, state, text, fix string, args ...string) {
	s.t.Helper()
	code, v := s.doctor(args...)
	found := false
	for _, c := range v.Checks {
		if m := goWords.FindString(c.Text + " " + c.Fix); m != "" {
			s.t.Errorf("%s says %q, which is for programmers: %s", c.Name, m, c.Text)
		}
		if c.State != api.CheckOK && c.Fix == "" {
			s.t.Errorf("%s does not say what to do: %s", c.Name, c.Text)
		}
		if m := commandOfOurs.FindStringSubmatch(c.Fix); m != nil && !strings.Contains(c.Fix, "operator runs") && m[1] != "--home" {
			s.t.Errorf("%s names a command without --home: %s", c.Name, c.Fix)
		}
		found = found || c.Name == name && c.State == state && regexp.MustCompile(text).MatchString(c.Text) && regexp.MustCompile(fix).MatchString(c.Fix)
	}
	if !found {
		s.t.Errorf("no check %s %s /%s/ fix /%s/, but:\n%s", name, state, text, fix, listChecks(v.Checks))
	}
	if state == api.CheckFail && (code != cli.Failed || v.OK) {
		s.t.Errorf("exit status %d, ok %v with a failed check", code, v.OK)
	}
}

func listChecks(checks []api.Check) string {
	var b strings.Builder
	for _, c := range checks {
		fmt.Fprintf(&b, "  %s %s: %s (fix: %s)\n", c.State, c.Name, c.Text, c.Fix)
	}
	return b.String()
}

// openclaw is an OpenClaw that takes one token.
func openclaw(t *testing.T, token string) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Message string `json:"message"`
			AgentID string `json:"agentId"`
		}
		switch {
		case r.URL.Path != "/hooks/agent":
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("Authorization") != "Bearer "+token:
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
		case json.UnmarshalRead(r.Body, &body) != nil || !strings.Contains(body.Message, "test call"):
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"ok":false,"error":"message required"}`)
		case body.AgentID != "main":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"ok":false,"error":"unknown agentId %q"}`, body.AgentID)
		default:
			fmt.Fprint(w, `{"ok":true,"runId":"1"}`)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// gatewayAt answers with the card of a key.
func gatewayAt(t *testing.T, key func() core.PublicKey, url func() string) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case federation.PathCard:
			text, err := json.Marshal(core.Card{Version: "0.2.31", GatewayURL: url(), PublicKey: key().String()})
			if err != nil {
				t.Error(err)
			}
			w.Write(text)
		case federation.PathPing:
			fmt.Fprintf(w, `{"pong":true,"timestamp":%q}`, core.FormatTime(time.Now()))
		default:
			fmt.Fprint(w, `{"success":true,"received":true,"status":"pending"}`)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// runRendezvous runs a rendezvous and gives its URL.
func rendezvousServer(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rendezvous.NewServer(rendezvous.ServerOptions{}).Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-done })
	return "http://" + ln.Addr().String()
}

func TestDoctorFindsNothingWhereAllIsWell(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.env = append(s.env, "OGP_RENDEZVOUS_ENABLED=true", "OGP_RENDEZVOUS_URL="+rendezvousServer(t),
		"OGP_OPENCLAW_URL="+openclaw(t, "right").URL, "OGP_OPENCLAW_HOOKS_TOKEN=right")
	s.start("--daemon-port", "0")
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		_, v := s.doctor("--no-test-call")
		if !strings.Contains(listChecks(v.Checks), api.NotYet) || time.Now().After(deadline) {
			break
		}
	}
	code, v := s.doctor()
	if code != cli.Done || !v.OK || v.Failed > 0 || !v.Running {
		t.Errorf("exit status %d, want 0:\n%s", code, listChecks(v.Checks))
	}
	for _, want := range []string{"ok config", "ok state", "ok files", "ok daemon", "ok key", "ok store", "ok port", "ok clock: within", "warn rendezvous: registered .* without a URL",
		"ok plugins: openclaw: self-tests pass", "ok notifier: openclaw: a test call succeeded", "ok queues", "ok peers", "ok disk", "ok descriptors", "warn url: http://localhost:"} {
		if !regexp.MustCompile("(?m)^  " + want).MatchString(listChecks(v.Checks)) {
			t.Errorf("no line %q in\n%s", want, listChecks(v.Checks))
		}
	}
	// As a person sees it, and without a daemon.
	if out := s.must("doctor", "--no-test-call"); !strings.Contains(out, "warn  url         http://localhost:") || !regexp.MustCompile(`\n      fix: ogp (--home \S+ )?init --gateway-url `).MatchString(out) {
		t.Errorf("for people it says\n%s", out)
	}
	s.stop()
	code, v = s.doctor()
	if code != cli.Done || v.Running || v.Failed > 0 {
		t.Errorf("without a daemon: exit status %d\n%s", code, listChecks(v.Checks))
	}
	if !strings.Contains(listChecks(v.Checks), "ok notifier: openclaw: a test call succeeded") || !strings.Contains(listChecks(v.Checks), "ok rendezvous: http") {
		t.Errorf("without a daemon it says\n%s", listChecks(v.Checks))
	}
}

// Each breaks one thing, and the doctor names it.
func TestDoctorNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(t *testing.T, s *site)
	}{
		{"a mistake in the configuration", func(t *testing.T, s *site) {
			s.write(daemon.ConfigFile, "email = 'a@b'\n\ndaemon_prot = 1\n", 0o600)
			s.finds("config", api.CheckFail, `config\.toml:3: unknown key "daemon_prot"`, `did you mean "daemon_port"`)
		}},
		{"a secret that others can read", func(t *testing.T, s *site) {
			s.write(daemon.ConfigFile, "openclaw_hooks_token = 'sekrit'\n", 0o644)
			s.finds("config", api.CheckWarn, `holds a secret and has mode 0644`, `^chmod 600 .*config\.toml$`, "--no-test-call")
		}},
		{"no daemon", func(t *testing.T, s *site) {
			s.finds("daemon", api.CheckWarn, "no daemon is running", `^ogp (--home \S+ )?start`)
			s.finds("state", api.CheckOK, ".", "^$")
		}},
		{"no state directory", func(t *testing.T, s *site) {
			os.Remove(s.dir)
			s.finds("state", api.CheckWarn, "is not there yet", `^ogp (--home \S+ )?init$`)
			if exists(s.dir) {
				t.Error("the doctor has made the directory")
			}
		}},
		{"others can write the state directory", func(t *testing.T, s *site) {
			s.chmod("", 0o777)
			s.finds("state", api.CheckFail, "mode 0777", "^chmod 700 "+regexp.QuoteMeta(s.dir)+"$")
		}},
		{"others can read the key", func(t *testing.T, s *site) {
			s.start("--daemon-port", "0")
			s.chmod(daemon.KeyFile, 0o644)
			s.finds("files", api.CheckFail, `key\.json has mode 0644`, `^chmod 600 .*key\.json$`)
			s.finds("key", api.CheckFail, `0644`, `^chmod 600 .*key\.json$`)
		}},
		{"others can read the store", func(t *testing.T, s *site) {
			s.start("--daemon-port", "0")
			s.chmod(daemon.StoreFile, 0o640)
			s.finds("files", api.CheckFail, `ogp\.db has mode 0640`, `^chmod 600 .*ogp\.db$`)
		}},
		{"a key that is no key", func(t *testing.T, s *site) {
			s.write(daemon.KeyFile, `{"version":1,"publicKey":"dead","privateKey":"beef"}`, 0o600)
			s.finds("key", api.CheckFail, `key\.json`, `backup`)
		}},
		{"another key in the place of ours", func(t *testing.T, s *site) {
			s.start("--daemon-port", "0")
			os.Remove(filepath.Join(s.dir, daemon.KeyFile))
			if _, err := keys.Create(filepath.Join(s.dir, daemon.KeyFile), nil); err != nil {
				t.Fatal(err)
			}
			s.finds("key", api.CheckFail, `holds another key`, `put the right key\.json back`)
		}},
		{"a TypeScript gateway's identity", func(t *testing.T, s *site) {
			s.write(daemon.LegacyKeyFile, `{}`, 0o600)
			s.finds("key", api.CheckFail, "TypeScript", `^ogp (--home \S+ )?import `)
		}},
		{"a sealed key without its passphrase", func(t *testing.T, s *site) {
			if _, err := keys.Create(filepath.Join(s.dir, daemon.KeyFile), func() (string, error) { return "x", nil }); err != nil {
				t.Fatal(err)
			}
			s.finds("key", api.CheckFail, "sealed", "passphrase")
		}},
		{"a damaged store", func(t *testing.T, s *site) {
			s.start("--daemon-port", "0")
			s.stop()
			path := filepath.Join(s.dir, daemon.StoreFile)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := 4096; i < len(text); i += 4096 { // the head of every page but the first
				copy(text[i:], bytes.Repeat([]byte{0xA5}, 100))
			}
			s.write(daemon.StoreFile, string(text), 0o600)
			s.finds("store", api.CheckFail, `store: `, `.`)
		}},
		{"the port is taken", func(t *testing.T, s *site) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			port := ln.Addr().(*net.TCPAddr).Port
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					c.Close()
				}
			}()
			s.env = append(s.env, fmt.Sprintf("OGP_DAEMON_PORT=%d", port))
			s.finds("port", api.CheckFail, fmt.Sprintf(`something listens on 127\.0\.0\.1:%d`, port), fmt.Sprintf(`^ogp (?:--home \S+ )?config set daemon_port %d(?s:.*)ss -ltnp`, port+10))
		}},
		{"another gateway has the port", func(t *testing.T, s *site) {
			other := newSite(t)
			v := other.start("--daemon-port", "0")
			_, port, _ := net.SplitHostPort(v.Listen)
			s.env = append(s.env, "OGP_DAEMON_PORT="+port)
			s.finds("port", api.CheckFail, `another OGP gateway \(`+v.Fingerprint, `daemon_port`)
		}},
		{"an address that is not ours", func(t *testing.T, s *site) {
			s.env = append(s.env, "OGP_LISTEN=192.0.2.1")
			s.finds("port", api.CheckFail, `does not have the address`, `config unset listen`)
		}},
		{"a gateway URL that nobody answers", func(t *testing.T, s *site) {
			s.start("--daemon-port", "0", "--gateway-url", "http://"+ports.Nobody(t))
			s.finds("url", api.CheckFail, `does not answer`, `proxy or tunnel of 127\.0\.0\.1`)
		}},
		{"another gateway at the gateway URL", func(t *testing.T, s *site) {
			other := newSite(t).start("--daemon-port", "0")
			s.start("--daemon-port", "0", "--gateway-url", other.GatewayURL)
			s.finds("url", api.CheckFail, `another gateway answers at .*`+other.Fingerprint, `gateway_url`)
		}},
		{"a web server at the gateway URL", func(t *testing.T, s *site) {
			web := httptest.NewServer(http.NotFoundHandler())
			defer web.Close()
			s.start("--daemon-port", "0", "--gateway-url", web.URL)
			s.finds("url", api.CheckFail, `answered with status 404`, `pass /\.well-known/ogp and /federation/ to port`)
		}},
		{"a certificate that nobody trusts", func(t *testing.T, s *site) {
			web := httptest.NewTLSServer(http.NotFoundHandler())
			defer web.Close()
			s.start("--daemon-port", "0", "--gateway-url", web.URL)
			s.finds("tls", api.CheckFail, `do not trust the certificate`, `fullchain\.pem`)
			s.finds("url", api.CheckFail, `TLS`, `what "tls" says below`)
		}},
		{"a certificate that has ended", func(t *testing.T, s *site) {
			cert, key := s.certificate(time.Now().Add(-time.Hour))
			s.env = append(s.env, "OGP_TLS_CERT="+cert, "OGP_TLS_KEY="+key)
			s.finds("tls", api.CheckFail, `expired 1h ago`, `renew it`)
		}},
		{"a certificate that soon ends", func(t *testing.T, s *site) {
			cert, key := s.certificate(time.Now().Add(50 * time.Hour))
			s.env = append(s.env, "OGP_TLS_CERT="+cert, "OGP_TLS_KEY="+key)
			s.finds("tls", api.CheckWarn, `expires in 2d`, `renew it`)
		}},
		{"plain http", func(t *testing.T, s *site) {
			s.start("--daemon-port", "0", "--gateway-url", "http://ogp.invalid")
			s.finds("tls", api.CheckWarn, `plain http`, `tls\.domain = "ogp\.invalid"`)
			s.finds("url", api.CheckFail, `ogp\.invalid`, `DNS record|proxy`)
		}},
		{"a clock that is an hour off", func(t *testing.T, s *site) {
			s.env = append(s.env, "OGP_RENDEZVOUS_ENABLED=true", "OGP_RENDEZVOUS_URL="+clockServer(t, -time.Hour))
			s.finds("clock", api.CheckFail, `1h0m\d*s? ahead of that|59m\d+s ahead|1h0m0s ahead`, `set-ntp`)
		}},
		{"a clock that is a minute off", func(t *testing.T, s *site) {
			s.env = append(s.env, "OGP_RENDEZVOUS_ENABLED=true", "OGP_RENDEZVOUS_URL="+clockServer(t, 2*time.Minute))
			s.finds("clock", api.CheckWarn, `behind that`, `set-ntp`)
		}},
		{"a rendezvous that is down", func(t *testing.T, s *site) {
			s.env = append(s.env, "OGP_RENDEZVOUS_ENABLED=true", "OGP_RENDEZVOUS_URL=http://"+ports.Nobody(t))
			s.finds("rendezvous", api.CheckFail, `.`, `curl|rendezvous`)
			s.start("--daemon-port", "0")
			s.until(func() bool {
				_, v := s.doctor()
				return strings.Contains(listChecks(v.Checks), "fail rendezvous: not registered")
			})
			s.finds("rendezvous", api.CheckFail, `not registered with .*: `, `rendezvous\.url`)
		}},
		{"OpenClaw refuses the token", func(t *testing.T, s *site) {
			s.env = append(s.env, "OGP_OPENCLAW_URL="+openclaw(t, "right").URL, "OGP_OPENCLAW_HOOKS_TOKEN=wrong")
			s.finds("notifier", api.CheckFail, `OpenClaw answered 401`, `hooks\.token`)
			s.start("--daemon-port", "0")
			s.finds("notifier", api.CheckFail, `OpenClaw answered 401`, `hooks\.token`)
		}},
		{"OpenClaw is down", func(t *testing.T, s *site) {
			s.env = append(s.env, "OGP_OPENCLAW_URL=http://"+ports.Nobody(t), "OGP_OPENCLAW_HOOKS_TOKEN=right")
			s.start("--daemon-port", "0")
			s.finds("notifier", api.CheckFail, `test call failed: OpenClaw at`, `start OpenClaw`)
		}},
		{"OpenClaw does not know the agent", func(t *testing.T, s *site) {
			s.env = append(s.env, "OGP_OPENCLAW_URL="+openclaw(t, "right").URL, "OGP_OPENCLAW_HOOKS_TOKEN=right", "OGP_AGENT_ID=nobody")
			s.finds("notifier", api.CheckFail, `unknown agentId`, `agent_id`)
		}},
		{"nobody is told", func(t *testing.T, s *site) {
			s.start("--daemon-port", "0")
			s.finds("notifier", api.CheckWarn, `nobody is notified`, `ogp (--home \S+ )?init`)
		}},
		{"a pinned module that has changed", func(t *testing.T, s *site) {
			s.write(daemon.ConfigFile, "[plugins.openclaw]\nsha256 = '"+strings.Repeat("a", 64)+"'\n", 0o600)
			s.finds("plugins", api.CheckFail, `SHA-256`, `config\.toml|trust`, "--no-test-call")
		}},
		{"a module that is not there", func(t *testing.T, s *site) {
			s.write(daemon.ConfigFile, "[plugins.mine]\npath = '/nowhere/mine.wasm'\n", 0o600)
			s.finds("plugins", api.CheckFail, `mine`, `.`)
		}},
		{"a module that is broken while the daemon runs", func(t *testing.T, s *site) {
			module, err := os.ReadFile(filepath.Join("..", "..", "plugins", "ntfy", "ntfy.wasm"))
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := os.ReadFile(filepath.Join("..", "..", "plugins", "ntfy", "plugin.toml"))
			if err != nil {
				t.Fatal(err)
			}
			s.write("ntfy.wasm", string(module), 0o600)
			s.write("plugin.toml", string(manifest), 0o600)
			path := filepath.Join(s.dir, "ntfy.wasm")
			s.write(daemon.ConfigFile, "[plugins.mine]\npath = '"+path+"'\nconfig = { topic = 'x', url = 'http://127.0.0.1:1' }\n", 0o600)
			s.start("--daemon-port", "0")
			s.write("ntfy.wasm", "no module", 0o600)
			s.finds("plugins", api.CheckFail, `mine`, `.`, "--no-test-call")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.do(t, newSite(t))
		})
	}
}

// until waits for what must come.
func (s *site) until(done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("it did not come")
		}
	}
}

// certificate writes a certificate of ours that ends at a time.
func (s *site) certificate(ends time.Time) (cert, key string) {
	s.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ogp.example"}, DNSNames: []string{"ogp.example"},
		NotBefore: ends.Add(-90 * 24 * time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		s.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o600)
	s.write("tls.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), 0o600)
	cert, key = filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "tls.pem")
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		s.t.Fatal(err)
	}
	return cert, key
}

// clockServer is a server whose clock is off.
func clockServer(t *testing.T, off time.Duration) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestDoctorLooksAtAPeer(t *testing.T) {
	t.Parallel()
	ada, ben := newSite(t), newSite(t)
	ada.start("--daemon-port", "0")
	home := ben.start("--daemon-port", "0")
	ada.must("federation", "request", home.GatewayURL, "--alias", "ben")
	ada.finds("trust", api.CheckWarn, "we asked ben", "ogp federation approve", "--peer", "ben")
	adaFP := strings.TrimSpace(ada.must("whoami", "--fingerprint"))
	ben.finds("trust", api.CheckWarn, "waits for you", `ogp (--home \S+ )?federation approve`, "--peer", adaFP)
	ben.must("federation", "approve", adaFP, "--alias", "ada")
	ada.until(func() bool {
		code, out, _ := ada.run("federation", "list", "--status", "approved")
		return code == cli.Done && strings.Contains(out, "ben")
	})
	ada.until(func() bool { return strings.Contains(ada.must("doctor", "--peer", "ben"), "none waits") })
	code, v := ada.doctor("--peer", "ben")
	if code != cli.Done || v.Failed > 0 {
		t.Errorf("exit status %d\n%s", code, listChecks(v.Checks))
	}
	for _, want := range []string{"ok trust: ben is approved", "ok reach: http", "ok peer-key: the card has the key on record", "ok clock: within", "ok features: version .*signature-v2",
		"ok received: we may send ben .*message", "ok messages: none waits"} {
		if !regexp.MustCompile("(?m)^  " + want).MatchString(listChecks(v.Checks)) {
			t.Errorf("no line %q in\n%s", want, listChecks(v.Checks))
		}
	}
	// It is gone, and a message waits.
	ben.stop()
	ada.run("federation", "send", "ben", "message", "hello")
	ada.finds("reach", api.CheckFail, "refused", "is it up", "--peer", "ben")
	ada.finds("messages", api.CheckWarn, "1 message waits", `ogp (--home \S+ )?outbox --peer ben`, "--peer", "ben")
	// It has removed us.
	ben.start("--daemon-port", strings.TrimPrefix(home.Listen, "127.0.0.1:"))
	ben.must("federation", "remove", "ada")
	ada.until(func() bool {
		_, out, _ := ada.run("federation", "list", "--status", "removed")
		return strings.Contains(out, "ben")
	})
	ada.finds("trust", api.CheckFail, "it has removed you", `ogp (--home \S+ )?federation request --again`, "--peer", "ben")
	// Nobody is called so.
	if code, out, _ := ada.run("doctor", "--peer", "nobody", "--json"); code != cli.Failed || !strings.Contains(out, "no peer") {
		t.Errorf("an unknown peer: exit status %d, %s", code, out)
	}
	ada.stop()
	if code, _, _ := ada.run("doctor", "--peer", "ben"); code != cli.NoDaemon {
		t.Errorf("without a daemon: exit status %d, want %d", code, cli.NoDaemon)
	}
}

func TestDoctorNamesAnotherKeyAtAPeersURL(t *testing.T) {
	t.Parallel()
	key, mu := keys.Generate().Public(), sync.Mutex{}
	now := func() core.PublicKey { mu.Lock(); defer mu.Unlock(); return key }
	var server *httptest.Server
	server = gatewayAt(t, now, func() string { return server.URL })
	s := newSite(t)
	s.start("--daemon-port", "0")
	s.must("federation", "request", server.URL, "--alias", "ben")
	s.finds("features", api.CheckWarn, "signs in the old way", "update it", "--peer", "ben")
	mu.Lock()
	key = keys.Generate().Public()
	mu.Unlock()
	s.finds("peer-key", api.CheckFail, "another key: fingerprint "+now().Fingerprint(), "compare fingerprints", "--peer", "ben")
}

func TestDoctorTellsWhatWaitsForARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("--daemon-port", "0")
	s.write(daemon.ConfigFile, "[rendezvous]\nenabled = true\nurl = \"http://"+ports.Nobody(t)+"\"\n", 0o600)
	s.until(func() bool {
		_, v := s.doctor()
		return strings.Contains(listChecks(v.Checks), "warn rendezvous: the setting has changed since the start")
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
