package plugin_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// operator loads the guest that does what its input says.
func operator(t *testing.T, spec plugin.Spec) func(op, req string) string {
	t.Helper()
	spec.Bytes = read(t, guests+"operate.wasm")
	if spec.Manifest == nil {
		spec.Manifest = &plugin.Manifest{Name: "x"}
	}
	p := load(t, newHost(t), spec)
	return func(op, req string) string {
		t.Helper()
		return call(t, p, plugin.Notify, fmt.Sprintf(`{"op":%q,"req":%s}`, op, req))
	}
}

func TestKV(t *testing.T) {
	do := operator(t, plugin.Spec{KV: &plugin.MemoryKV{}, Grants: plugin.Grants{KV: []string{"kv.*"}}, Manifest: &plugin.Manifest{Name: "x", KV: &plugin.KVAsk{MaxBytes: 20}}})
	for _, c := range []struct{ op, req, want string }{
		{"kv.get", `{"key":"a"}`, `{}`},
		{"kv.set", `{"key":"a","value":"1 \" ü"}`, `{}`},
		{"kv.get", `{"key":"a"}`, `{"value":"1 \" ü"}`},
		{"kv.set", `{"key":"b","value":""}`, `{}`},
		{"kv.get", `{"key":"b"}`, `{"value":""}`},
		{"kv.list", `{"prefix":""}`, `{"keys":["a","b"]}`},
		{"kv.list", `{}`, `{"keys":["a","b"]}`},
		{"kv.list", `{"prefix":"x"}`, `{"keys":[]}`},
		{"kv.delete", `{"key":"b"}`, `{}`},
		{"kv.delete", `{"key":"b"}`, `{}`},
		{"kv.set", `{"key":"a","value":"2"}`, `{}`},
		{"kv.set", `{"key":"c","value":"0123456789abcdef"}`, `{}`},
	} {
		want := fmt.Sprintf(`{"code":%d,"result":%s}`, len(c.want), c.want)
		if got := do(c.op, c.req); got != want {
			t.Errorf("%s %s = %s, want %s", c.op, c.req, got, want)
		}
	}
	for _, c := range []struct {
		op, req string
		code    int
	}{
		{"kv.set", `{"key":"d","value":"12"}`, -5},
		{"kv.set", `{"key":"d","value":"012345678901234567890"}`, -5},
		{"kv.set", `{"key":"","value":"1"}`, -3},
		{"kv.get", `{"Key":"a"}`, -3},
		{"kv.get", `{"key":"a","more":1}`, -3},
		{"kv.get", `{"key":1}`, -3},
		{"kv.get", `[]`, -3},
		{"kv.get", `{"key":"` + strings.Repeat("k", 600) + `"}`, -3},
		{"kv.incr", `{}`, -1},
		{"", `{}`, -1},
		{strings.Repeat("o", 64), `{}`, -1},
	} {
		if got := do(c.op, c.req); !strings.HasPrefix(got, fmt.Sprintf(`{"code":%d,"error":"`, c.code)) {
			t.Errorf("%s %s = %s, want code %d", c.op, c.req, got, c.code)
		}
	}
}

// TestP1Grants has nothing work that was not granted, and a policy have nothing but the kv operations named.
func TestP1Grants(t *testing.T) {
	all := []string{"http.request", "kv.get", "kv.set", "kv.delete", "kv.list", "secret.has", "clock.now", "rand"}
	requests := map[string]string{
		"http.request": `{"method":"GET","url":"http://localhost:1/"}`, "kv.get": `{"key":"a"}`, "kv.set": `{"key":"a","value":"b"}`,
		"kv.delete": `{"key":"a"}`, "kv.list": `{}`, "secret.has": `{"name":"s"}`, "clock.now": `{}`, "rand": `{"bytes":4}`,
	}
	secrets := func(string) (string, bool) { return "v", true }
	wide := plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: "http://localhost:1/", Private: true, Secrets: []string{"s"}}}, KV: []string{"kv.*"}}
	for _, c := range []struct {
		name    string
		hook    plugin.Hook
		grants  plugin.Grants
		allowed string // the operations that are not answered with -2
	}{
		{"nothing granted", plugin.Notify, plugin.Grants{}, "secret.has clock.now rand"},
		{"everything granted", plugin.Notify, wide, "http.request kv.get kv.set kv.delete kv.list secret.has clock.now rand"},
		{"one kv operation", plugin.Handle, plugin.Grants{KV: []string{"kv.get"}}, "kv.get secret.has clock.now rand"},
		{"a policy, nothing granted", plugin.Message, plugin.Grants{}, ""},
		{"a policy, everything granted", plugin.Message, wide, "kv.get kv.set kv.delete kv.list"},
		{"a policy, one granted", plugin.Message, plugin.Grants{KV: []string{"kv.get"}}, "kv.get"},
	} {
		p := load(t, newHost(t), plugin.Spec{Bytes: read(t, guests+"operate.wasm"), Grants: c.grants, KV: &plugin.MemoryKV{}, Secrets: secrets})
		for _, op := range all {
			got := call(t, p, c.hook, fmt.Sprintf(`{"op":%q,"req":%s}`, op, requests[op]))
			denied, want := strings.Contains(got, `"code":-2`), !strings.Contains(" "+c.allowed+" ", " "+op+" ")
			if denied != want {
				t.Errorf("%s: %s = %s, denied = %v, want %v", c.name, op, got, denied, want)
			}
		}
	}
}

func TestSmallOperations(t *testing.T) {
	do := operator(t, plugin.Spec{
		Secrets: func(n string) (string, bool) { return "v", n != "unset" },
		Grants:  plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: "https://a.example/", Secrets: []string{"s", "unset"}}}},
	})
	for name, has := range map[string]string{"s": "true", "unset": "false", "other": "false"} {
		if got := do("secret.has", `{"name":"`+name+`"}`); !strings.Contains(got, `{"has":`+has+`}`) {
			t.Errorf("secret.has %s = %s, want %s", name, got, has)
		}
	}
	var now string
	if _, err := fmt.Sscanf(do("clock.now", `{}`), `{"code":34,"result":{"now":%q}}`, &now); err != nil {
		t.Errorf("clock.now: %v", err)
	}
	if at, err := time.Parse(time.RFC3339Nano, now); err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("clock.now = %s (%v)", now, err)
	}
	a, b := do("rand", `{"bytes":16}`), do("rand", `{"bytes":16}`)
	if a == b || !strings.HasPrefix(a, `{"code":42,"result":{"hex":"`) {
		t.Errorf("rand = %s and %s", a, b)
	}
	for _, n := range []string{"0", "-1", "1025", "1e3", `"4"`} {
		if got := do("rand", `{"bytes":`+n+`}`); !strings.Contains(got, `"code":-3`) {
			t.Errorf("rand %s = %s, want -3", n, got)
		}
	}
}

// echo is a server that shows what it got.
func echo(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/hooks/redirect":
			http.Redirect(w, r, "/private", http.StatusFound)
		case "/hooks/large":
			w.Write(make([]byte, 1<<20+1))
		case "/hooks/binary":
			w.Write([]byte{0xff, 0xfe, 0})
		case "/hooks/slow":
			<-r.Context().Done()
		default:
			w.Header().Set("X-Auth", r.Header.Get("Authorization"))
			h := r.Header.Clone()
			h.Del("Accept-Encoding")
			fmt.Fprintf(w, "%s %s host=%s %v %q", r.Method, r.URL, r.Host, h, b)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// TestP1HTTP has requests go to granted URLs only, with secrets that the guest never sees, and signatures by the
// host.
func TestP1HTTP(t *testing.T) {
	s := echo(t)
	secrets := map[string]string{"token": "t0ken-value", "key": "k3y-value", "crlf": "a\r\nX-Evil: 1"}
	do := operator(t, plugin.Spec{
		Limits:  plugin.Limits{Timeout: plugin.Duration(time.Second)},
		Secrets: func(n string) (string, bool) { v, ok := secrets[n]; return v, ok },
		Grants: plugin.Grants{HTTP: []plugin.HTTPGrant{
			{URL: s.URL + "/hooks/", Private: true, Secrets: []string{"token", "key", "crlf", "unset"}},
			{URL: s.URL + "/open", Private: true},
		}},
	})
	request := func(rest string) string { return do("http.request", `{"url":"`+s.URL+rest+`}`) }

	got := request(`/hooks/agent?x=1","method":"POST","headers":{"authorization":"Bearer {secret:token}","Host":"evil","Connection":"close","X-A":"b"},"body":"hi"`)
	host := strings.TrimPrefix(s.URL, "http://")
	for _, want := range []string{`"status":200`, `POST /hooks/agent?x=1 host=` + host, `Authorization:[Bearer {secret:token}]`, `X-A:[b]`, `\"hi\"`, `"x-auth":"Bearer {secret:token}"`} {
		if !strings.Contains(got, want) {
			t.Errorf("answer = %s, want %s in it", got, want)
		}
	}
	for _, never := range []string{"t0ken", "evil", "Connection"} {
		if strings.Contains(got, never) {
			t.Errorf("answer = %s, want no %s in it", got, never)
		}
	}

	mac := hmac.New(sha256.New, []byte("k3y-value"))
	mac.Write([]byte(`{"a":1}`))
	got = request(`/hooks/w","method":"POST","body":"{\"a\":1}","hmac":{"secret":"key","header":"X-Hub-Signature-256","prefix":"sha256="}`)
	if want := "X-Hub-Signature-256:[sha256=" + hex.EncodeToString(mac.Sum(nil)) + "]"; !strings.Contains(got, want) {
		t.Errorf("answer = %s, want %s in it", got, want)
	}

	for rest, want := range map[string]string{
		`/hooks/redirect"`: `"location":"/private"`,
		`/hooks/binary"`:   `"bodyBase64":"//4A"`,
		`/open"`:           `"status":200`,
		`/hooks/w","method":"POST","bodyBase64":"aGk="`: `\"hi\"`,
		`/hooks/large"`:                                                 `"code":-5`,
		`/hooks/slow","timeoutMs":50`:                                   `"code":-4,"error":"timed out"`,
		`/hooks/slow","method":"TRACE"`:                                 `"code":-3`,
		`/hooks/w","method":"CONNECT"`:                                  `"code":-3`,
		`/hooks/w","headers":{"a b":"c"}`:                               `"code":-3`,
		`/hooks/w","headers":{"a":"b\r\nc: d"}`:                         `"code":-3`,
		`/hooks/w","headers":{"a":"{secret:crlf}"}`:                     `"code":-3`,
		`/hooks/w","headers":{"a":"{secret:token"}`:                     `"code":-3`,
		`/hooks/w","headers":{"a":"{secret:unset}"}`:                    `"code":-2`,
		`/hooks/w","headers":{"a":"{secret:other}"}`:                    `"code":-2`,
		`/open","headers":{"a":"{secret:token}"}`:                       `"code":-2`,
		`/open","hmac":{"secret":"key","header":"X-S","prefix":""}`:     `"code":-2`,
		`/hooks/w","hmac":{"secret":"key","header":"Host","prefix":""}`: `"code":-3`,
		`/hooks/w","body":"a","bodyBase64":"YQ=="`:                      `"code":-3`,
		`/hooks/w","bodyBase64":"*"`:                                    `"code":-3`,
		`/hooks/w","follow":true`:                                       `"code":-3`,
		`/private"`:                                                     `"code":-2`,
		`/"`:                                                            `"code":-2`,
		`/hooksX"`:                                                      `"code":-2`,
		`/openly"`:                                                      `"code":-2`,
		`/hooks/../private"`:                                            `"code":-3`,
		`/hooks/%2e%2e/private"`:                                        `"code":-3`,
		`/hooks/..%2fprivate"`:                                          `"code":-3`,
		`/hooks//a"`:                                                    `"code":-3`,
		`/hooks/a#b"`:                                                   `"code":-3`,
		`@evil.example/hooks/"`:                                         `"code":-3`,
		`.evil.example/hooks/"`:                                         `"code":-3`,
	} {
		if got := request(rest); !strings.Contains(got, want) {
			t.Errorf("%s = %s, want %s", rest, got, want)
		}
	}
}

// TestP1SecretInAPath has a secret stand in a URL's path, behind what is granted, and nobody read it: not in an
// answer that repeats it, not in the error of a dial that fails, not in a log.
func TestP1SecretInAPath(t *testing.T) {
	s := echo(t)
	secrets := map[string]string{"hook": "T0123/B0456/s3cr3t%va1ue", "up": "a/../../private", "empty": "a//b", "ask": "k?x=1#y"}
	var log bytes.Buffer
	grants := func(url string) []plugin.HTTPGrant {
		return []plugin.HTTPGrant{{URL: url + "/hooks/", Private: true, Secrets: []string{"hook", "up", "empty", "ask"}}, {URL: url + "/open", Private: true}}
	}
	spec := plugin.Spec{Secrets: func(n string) (string, bool) { v, ok := secrets[n]; return v, ok }, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	spec.Grants.HTTP = grants(s.URL)
	do := operator(t, spec)
	request := func(url string) string { return do("http.request", `{"url":"`+url+`"}`) }
	if got := request(s.URL + "/hooks/services/{secret:hook}?x=1"); !strings.Contains(got, `"status":200`) || !strings.Contains(got, "/hooks/services/{secret:hook}?x=1") {
		t.Errorf("answer = %s, want the secret's place filled and its value taken out", got)
	}
	if got := request(s.URL + "/hooks/{secret:ask}"); !strings.Contains(got, `"status":200`) || strings.Contains(got, "?x=1") {
		t.Errorf("answer = %s, want a secret that stays in the path", got)
	}
	for rest, want := range map[string]string{
		"/hooks/{secret:up}": `"code":-3`, "/hooks/{secret:empty}": `"code":-3`, "/hooks/{secret:hook": `"code":-3`, "/hooks/x?k={secret:hook}": `"code":-3`,
		"/{secret:hook}": `"code":-2`, "/open/{secret:hook}": `"code":-2`, "/hooks/{secret:other}": `"code":-2`, "/hooks/../{secret:hook}": `"code":-3`,
		"@{secret:hook}/hooks/": `"code":-3`, "/hooks/ogp-secret-mark": `"code":-3`,
	} {
		if got := request(s.URL + rest); !strings.Contains(got, want) {
			t.Errorf("%s = %s, want %s", rest, got, want)
		}
	}
	dead := "http://" + ports.Nobody(t)
	spec.Grants.HTTP = grants(dead)
	got := operator(t, spec)("http.request", `{"url":"`+dead+`/hooks/{secret:hook}"}`)
	if !strings.Contains(got, `"code":-4`) {
		t.Errorf("a dead server: %s, want -4", got)
	}
	for _, text := range []string{got, log.String()} {
		if strings.Contains(text, "s3cr3t") || strings.Contains(text, "T0123") {
			t.Errorf("%s holds the secret", text)
		}
	}
}

// TestP2HTTPDeadline has a request end with the call's deadline, as a code that the guest can read or as the
// call's timeout, whichever is seen first.
func TestP2HTTPDeadline(t *testing.T) {
	s := echo(t)
	p := load(t, newHost(t), plugin.Spec{
		Bytes: read(t, guests+"operate.wasm"), Limits: plugin.Limits{Timeout: limit100ms},
		Grants: plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: s.URL, Private: true}}},
	})
	r, err := p.Call(t.Context(), plugin.Notify, []byte(`{"op":"http.request","req":{"url":"`+s.URL+`/hooks/slow"}}`))
	if err == nil && strings.Contains(string(r.Output), "timed out") {
		return
	}
	wantKind(t, err, plugin.Timeout)
}

// TestN1Guard has requests to private addresses refused when they are dialled, however they are named.
func TestN1Guard(t *testing.T) {
	s := echo(t)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "127.1.2.3"} {
		url := "http://" + host + ":" + port + "/"
		do := operator(t, plugin.Spec{Grants: plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: url}}}})
		got := do("http.request", `{"url":"`+url+`"}`)
		if !strings.Contains(got, "refused: an address that is not allowed") {
			t.Errorf("%s = %s, want it refused", url, got)
		}
		if grant := "write into [plugins.guest.grants] of config.toml: private = true"; host == "127.0.0.1" && !strings.Contains(got, grant) {
			t.Errorf("%s = %s, want it to say %q", url, got, grant)
		}
	}
	refuses := func(private bool, addrs ...string) {
		t.Helper()
		for _, addr := range addrs {
			url := "http://" + net.JoinHostPort(addr, "9") + "/"
			do := operator(t, plugin.Spec{Grants: plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: url, Private: private}}}})
			if got := do("http.request", `{"timeoutMs":2000,"url":"`+url+`"}`); !strings.Contains(got, "refused: an address that is not allowed") {
				t.Errorf("%s, private %v: %s, want it refused", addr, private, got)
			}
		}
	}
	refuses(false, "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "::1", "fc00::1", "fd00::1", "::ffff:10.0.0.1")
	for _, private := range []bool{false, true} {
		refuses(private, "169.254.169.254", "0.1.2.3", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
			"168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "3ffe::1", "2a00:1450::5efe:7f00:1",
			"fe80::1", "ff02::1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "2001:db8::1")
	}
}

// TestHTTPKeepsConnections has requests of many calls, of a reloaded plugin and of another one, go over one
// connection.
func TestHTTPKeepsConnections(t *testing.T) {
	var made atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			made.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	h := newHost(t)
	grants := plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: s.URL, Private: true}}}
	for _, name := range []string{"a", "b"} {
		spec := plugin.Spec{Name: name, Bytes: read(t, guests+"operate.wasm"), Grants: grants}
		p := load(t, h, spec)
		for i := range 10 {
			got := call(t, p, plugin.Notify, `{"op":"http.request","req":{"method":"POST","body":"x","url":"`+s.URL+`"}}`)
			if !strings.Contains(got, `200`) {
				t.Fatalf("answer = %s", got)
			}
			if i == 4 {
				if err := p.Replace(t.Context(), spec); err != nil {
					t.Fatal(err)
				}
			}
		}
		p.Close()
	}
	if n := made.Load(); n != 1 {
		t.Errorf("%d connections for 20 requests, want 1", n)
	}
}
