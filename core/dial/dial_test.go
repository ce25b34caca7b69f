package dial

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// serve answers with h and counts the requests that arrive.
func serve(t testing.TB, h http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var hits atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s, &hits
}

func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	c := New(o)
	t.Cleanup(c.CloseIdle)
	return c
}

func get(t testing.TB, c *Client, target string) (Answer, error) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Do(context.Background(), req)
}

func wantKind(t testing.TB, err error, want core.Kind) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, want) {
		t.Fatalf("err = %v, want kind %q", err, want)
	}
	return e
}

func ok(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

func TestN1EveryRangeThatIsNotPublicIsBlocked(t *testing.T) {
	blocked := map[string][]string{
		"unspecified":        {"0.0.0.0", "0.1.2.3", "::"},
		"loopback":           {"127.0.0.1", "127.255.255.254", "::1"},
		"private":            {"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fc00::1", "fdff::1"},
		"link-local":         {"169.254.0.1", "fe80::1", "fe80::1%lo", "febf::1", "fec0::1"},
		"multicast":          {"224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"},
		"broadcast, class E": {"255.255.255.255", "240.0.0.1"},
		"cgnat":              {"100.64.0.1", "100.127.255.255"},
		"ietf":               {"192.0.0.1", "192.0.0.192", "192.88.99.1", "198.18.0.1", "198.19.255.255"},
		"as112, amt":         {"192.31.196.1", "192.175.48.1", "192.52.193.1", "2620:4f:8000::1"},
		"nat64":              {"64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "64:ff9b:1:fffe::a00:1"},
		"6to4":               {"2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1"},
		"teredo":             {"2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"},
		"orchid, bench":      {"2001:10::1", "2001:20::1", "2001:2::1"},
		"documentation":      {"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"},
		"metadata":           {"169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"},
		"mapped":             {"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"},
		"compatible":         {"::7f00:1", "::ffff:0:7f00:1"},
		"discard, srv6":      {"100::1", "5f00::1"},
		"isatap":             {"2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:10.0.0.1"},
		"6bone":              {"3ffe::1"},
		"outside 2000::/3":   {"1fff::1", "4000::1", "8000::1", "e000::1"},
	}
	g := newGuard(nil)
	for name, addrs := range blocked {
		for _, a := range addrs {
			addr := netip.MustParseAddr(a)
			network := "tcp6"
			if addr.Is4() {
				network = "tcp4"
			}
			err := g.check(network, netip.AddrPortFrom(addr, 443).String())
			if !errors.Is(err, Blocked) {
				t.Errorf("%s: check(%s) = %v, want Blocked", name, a, err)
			}
		}
	}
	for _, a := range []string{"8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "11.0.0.1",
		"126.255.255.255", "128.0.0.1", "169.253.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e", "2003::1"} {
		if err := g.checkAddr(netip.MustParseAddr(a)); err != nil {
			t.Errorf("checkAddr(%s) = %v, want nil", a, err)
		}
	}
}

func TestN1OnlyTCPIsDialled(t *testing.T) {
	g := newGuard(loopback)
	for _, network := range []string{"udp4", "unix", "tcp", ""} {
		if err := g.check(network, "127.0.0.1:80"); !errors.Is(err, Blocked) {
			t.Errorf("check(%q) = %v, want Blocked", network, err)
		}
	}
	if err := g.check("tcp4", "localhost:80"); !errors.Is(err, Blocked) {
		t.Errorf("check of a name = %v, want Blocked", err)
	}
}

func TestN1LoopbackIsBlockedWithoutAllowance(t *testing.T) {
	s, hits := serve(t, ok)
	port := s.Listener.Addr().(*net.TCPAddr).Port
	c := newClient(t, Options{})
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "localhost", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]"} {
		_, err := get(t, c, fmt.Sprintf("http://%s:%d/secret-path", host, port))
		e := wantKind(t, err, Blocked)
		if strings.Contains(e.Error(), "secret-path") {
			t.Errorf("%s: the error shows the path: %v", host, e)
		}
	}
	// Spellings that some resolvers read as 127.0.0.1, and others do not find.
	for _, host := range []string{"2130706433", "0x7f000001", "127.1", "0177.0.0.1"} {
		if _, err := get(t, c, fmt.Sprintf("http://%s:%d/", host, port)); err == nil {
			t.Errorf("%s: err = nil, want one", host)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the server saw %d requests, want 0", n)
	}
}

func TestN1BlockedErrorNamesTheRangeToAllow(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1":       "127.0.0.0/8",
		"::1":             "::1/128",
		"10.1.2.3":        "10.1.2.3/32",
		"fe80::1%eth0":    "fe80::1/128",
		"169.254.169.254": "",
		"168.63.129.16":   "",
		"100.100.100.200": "",
		"fd00:ec2::254":   "",
		"224.0.0.1":       "",
		"0.0.0.0":         "",
	} {
		e := wantKind(t, newGuard(nil).checkAddr(netip.MustParseAddr(addr)), Blocked)
		if want == "" {
			if e.Allow.IsValid() || e.Hint() != "" {
				t.Errorf("%s: hint %q, want none", addr, e.Hint())
			}
			continue
		}
		if e.Allow.String() != want || !strings.Contains(e.Hint(), "OGP_NETWORK_ALLOW_PRIVATE="+want) {
			t.Errorf("%s: hint %q, want one with %s", addr, e.Hint(), want)
		}
		if err := newGuard([]netip.Prefix{e.Allow}).checkAddr(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("%s: after allowing %s: %v", addr, e.Allow, err)
		}
	}
}

func TestN1AllowedRangeIsReached(t *testing.T) {
	s, hits := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Agent", r.UserAgent())
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "hello")
	})
	for _, allow := range []string{"127.0.0.0/8", "127.0.0.1/32", "::ffff:127.0.0.0/104", "127.9.9.9/8"} {
		c := newClient(t, Options{Allow: []netip.Prefix{netip.MustParsePrefix(allow)}, UserAgent: "ogp/test"})
		a, err := get(t, c, s.URL)
		if err != nil {
			t.Fatalf("allow %s: %v", allow, err)
		}
		if a.Status != http.StatusTeapot || string(a.Body) != "hello" || a.Header.Get("X-Agent") != "ogp/test" {
			t.Errorf("allow %s: answer = %d %q %q, want 418 hello ogp/test", allow, a.Status, a.Body, a.Header.Get("X-Agent"))
		}
	}
	if hits.Load() != 4 {
		t.Errorf("the server saw %d requests, want 4", hits.Load())
	}
	// What is allowed opens nothing beside itself.
	c := newClient(t, Options{Allow: loopback})
	for _, target := range []string{"http://10.0.0.1/", "http://0.0.0.0/", "http://[::1]/", "http://169.254.169.254/"} {
		_, err := get(t, c, target)
		wantKind(t, err, Blocked)
	}
}

// nameServer answers A queries with whatever answer returns, in turn.
func nameServer(t *testing.T, answer func(query int64) [4]byte) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var queries int64
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Authoritative, m.Additionals = true, true, nil
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: answer(queries)},
				}}
				queries++
			}
			out, err := m.Pack()
			if err == nil {
				pc.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", pc.LocalAddr().String())
	}}
}

func TestN1RebindingIsMetAtConnectTime(t *testing.T) {
	s, hits := serve(t, ok)
	port := s.Listener.Addr().(*net.TCPAddr).Port
	// The first lookup is what a check before dialling would see. Every further
	// one says loopback.
	r := nameServer(t, func(query int64) [4]byte {
		if query == 0 {
			return [4]byte{93, 184, 215, 14}
		}
		return [4]byte{127, 0, 0, 1}
	})
	first, err := r.LookupNetIP(context.Background(), "ip4", "rebind.test")
	if err != nil || len(first) != 1 || newGuard(nil).checkAddr(first[0]) != nil {
		t.Fatalf("lookup = %v, %v, want one public address", first, err)
	}
	c := newClient(t, Options{Resolver: r})
	_, err = get(t, c, fmt.Sprintf("http://rebind.test:%d/", port))
	e := wantKind(t, err, Blocked)
	if e.Addr != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("blocked %s, want 127.0.0.1", e.Addr)
	}
	if hits.Load() != 0 {
		t.Error("the server was reached")
	}
}

// proxied counts what a proxy named by the environment was asked. net/http reads
// the environment once, so it is set before any test.
var proxied atomic.Int64

func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied.Add(1)
		ok(w, r)
	}))
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"} {
		os.Setenv(name, proxy.URL)
	}
	os.Unsetenv("NO_PROXY")
	os.Unsetenv("no_proxy")
	code := m.Run()
	proxy.Close()
	os.Exit(code)
}

func TestN1NoProxyFromTheEnvironment(t *testing.T) {
	s, hits := serve(t, ok)
	// net/http never sends loopback addresses to a proxy, so this one has a name.
	r := nameServer(t, func(int64) [4]byte { return [4]byte{127, 0, 0, 1} })
	c := newClient(t, Options{Allow: loopback, Resolver: r})
	if _, err := get(t, c, fmt.Sprintf("http://peer.test:%d/", s.Listener.Addr().(*net.TCPAddr).Port)); err != nil {
		t.Fatal(err)
	}
	if proxied.Load() != 0 || hits.Load() != 1 {
		t.Errorf("proxy saw %d and server %d requests, want 0 and 1", proxied.Load(), hits.Load())
	}
}

func TestN1Redirects(t *testing.T) {
	other, otherHits := serve(t, ok)
	s, hits := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "test:")
		if r.URL.Path == "/other" {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
			return
		}
		if n := len(r.URL.Path) - 1; n > 0 {
			http.Redirect(w, r, r.URL.Path[:n], http.StatusTemporaryRedirect)
			return
		}
		ok(w, r)
	})
	c := newClient(t, Options{Allow: loopback})
	for _, tt := range []struct {
		method, path string
		want         core.Kind // empty: an answer
		hits         int64
	}{
		{"GET", "/", "", 1},
		{"GET", "/a", "", 2},
		{"GET", "/aaa", "", 4},
		{"HEAD", "/aaa", "", 4},
		{"GET", "/aaaa", Redirected, 4},
		{"GET", "/other", Redirected, 1},
		{"POST", "/a", Redirected, 1},
		{"PUT", "/a", Redirected, 1},
		{"DELETE", "/a", Redirected, 1},
		{"POST", "/", "", 1},
	} {
		hits.Store(0)
		req, err := http.NewRequest(tt.method, s.URL+tt.path, strings.NewReader("envelope"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Do(context.Background(), req)
		if tt.want == "" && err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.path, err)
		}
		if tt.want != "" {
			wantKind(t, err, tt.want)
			if !strings.Contains(err.Error(), ", after 307 Temporary Redirect from test") {
				t.Errorf("%s %s: %v, want the status and who gave it", tt.method, tt.path, err)
			}
		}
		if hits.Load() != tt.hits {
			t.Errorf("%s %s: %d requests, want %d", tt.method, tt.path, hits.Load(), tt.hits)
		}
	}
	if otherHits.Load() != 0 {
		t.Error("the other origin was reached")
	}
}

func TestN1AnswerIsBounded(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscanf(r.URL.Path, "/%d", &n)
		if r.URL.RawQuery == "chunked" {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(n))
		}
		w.Write(bytes.Repeat([]byte("x"), n))
	})
	c := newClient(t, Options{Allow: loopback})
	for _, form := range []string{"", "?chunked"} {
		for _, n := range []int{0, 1, DefaultMaxAnswerBytes - 1, DefaultMaxAnswerBytes} {
			a, err := get(t, c, fmt.Sprintf("%s/%d%s", s.URL, n, form))
			if err != nil || len(a.Body) != n {
				t.Errorf("%d bytes%s: got %d, %v", n, form, len(a.Body), err)
			}
		}
		for _, n := range []int{DefaultMaxAnswerBytes + 1, 1 << 20} {
			_, err := get(t, c, fmt.Sprintf("%s/%d%s", s.URL, n, form))
			wantKind(t, err, TooLong)
		}
	}
	// The same bound holds for who reads by himself.
	resp, err := c.HTTPClient().Get(fmt.Sprintf("%s/%d?chunked", s.URL, DefaultMaxAnswerBytes+1))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	wantKind(t, err, TooLong)
	if len(body) != DefaultMaxAnswerBytes {
		t.Errorf("read %d bytes, want %d", len(body), DefaultMaxAnswerBytes)
	}
}

func TestN1AnswerHeadersAreBounded(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 2*maxAnswerHeaderBytes))
	})
	_, err := get(t, newClient(t, Options{Allow: loopback}), s.URL)
	wantKind(t, err, Broken)
}

func TestN1AnswerIsNotInflated(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("Accept-Encoding = %q, want none", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "raw")
	})
	a, err := get(t, newClient(t, Options{Allow: loopback}), s.URL)
	if err != nil || string(a.Body) != "raw" {
		t.Errorf("answer = %q, %v, want the bytes as sent", a.Body, err)
	}
}

func TestN1TimeIsLimitedToTheLastByte(t *testing.T) {
	release := make(chan struct{})
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	c := newClient(t, Options{Allow: loopback, Timeout: 50 * time.Millisecond})
	for _, path := range []string{"/head", "/body"} {
		_, err := get(t, c, s.URL+path)
		wantKind(t, err, Timeout)
		if said := strings.HasSuffix(err.Error(), ", after 200 OK"); said != (path == "/body") {
			t.Errorf("%s: %v, want the status where there was one", path, err)
		}
	}
	if d := New(Options{}).HTTPClient().Timeout; d != 10*time.Second {
		t.Errorf("default timeout %s, want 10s", d)
	}
}

func TestN1OnlyPlainHTTPURLs(t *testing.T) {
	c := newClient(t, Options{Allow: loopback})
	for _, target := range []string{
		"ftp://peer.example/", "file:///etc/passwd", "gopher://peer.example/", "unix:///var/run/docker.sock", "javascript:alert(1)",
		"http://user@peer.example/", "http://user:pass@peer.example/", "http://@peer.example/",
		"http:///path", "http:peer.example", "//peer.example/", "http://:80/", "",
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		wantKind(t, CheckURL(u), BadURL)
		_, err = c.Do(context.Background(), (&http.Request{Method: "GET", URL: u, Header: http.Header{}}))
		if err == nil {
			t.Errorf("Do(%q) = nil, want an error", target)
		}
	}
	wantKind(t, CheckURL(nil), BadURL)
	for _, target := range []string{"http://peer.example", "HTTPS://peer.example:18790/x", "http://[2606:4700::1111]/", "http://8.8.8.8/"} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckURL(u); err != nil {
			t.Errorf("CheckURL(%q) = %v, want nil", target, err)
		}
	}
}

func TestErrorsTellTheirKind(t *testing.T) {
	plain, _ := serve(t, ok)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the handshake that must fail
	secure.StartTLS()
	t.Cleanup(secure.Close)

	broken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := broken.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { broken.Close(); <-done })

	noNames := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}
	c := newClient(t, Options{Allow: loopback, Resolver: noNames})
	for target, want := range map[string]core.Kind{
		"http://" + ports.Nobody(t):         NobodyListens,
		"http://nowhere.test/":              DNS,
		secure.URL:                          TLS,
		"https" + plain.URL[len("http"):]:   TLS,
		"http://" + broken.Addr().String():  Broken,
		"http://192.168.255.254:1/a-secret": Blocked,
	} {
		_, err := get(t, c, target)
		e := wantKind(t, err, want)
		if e.Origin == "" || strings.Contains(e.Error(), "a-secret") {
			t.Errorf("%s: error %q, want the origin and no path", target, e)
		}
	}

	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	if _, err := get(t, newClient(t, Options{Allow: loopback, RootCAs: roots}), secure.URL); err != nil {
		t.Errorf("with the root: %v", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", plain.URL, nil)
	_, err = c.Do(ctx, req)
	wantKind(t, err, Canceled)
}

func TestConnectionsAreReused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	var conns atomic.Int64
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := newClient(t, Options{Allow: loopback})
	for range 5 {
		if _, err := get(t, c, s.URL); err != nil {
			t.Fatal(err)
		}
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections, want 1", conns.Load())
	}
}

// FuzzN1NoSpellingReachesLoopback holds the guard against odd hosts: whatever
// the host, a server on loopback sees no request.
func FuzzN1NoSpellingReachesLoopback(f *testing.F) {
	s, hits := serve(f, ok)
	port := s.Listener.Addr().(*net.TCPAddr).Port
	for _, host := range []string{"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0", "127.1", "[fe80::1%25lo]", "[::127.0.0.1]", "0.0.0.0"} {
		f.Add(host)
	}
	noNames := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}
	c := newClient(f, Options{Timeout: time.Second, Resolver: noNames})
	f.Fuzz(func(t *testing.T, host string) {
		req, err := http.NewRequest("GET", fmt.Sprintf("http://%s:%d/", host, port), nil)
		if err != nil {
			return
		}
		if a, err := netip.ParseAddr(req.URL.Hostname()); err == nil && newGuard(nil).checkAddr(a) == nil {
			return // a public address; nothing leaves the machine
		}
		if _, err := c.Do(context.Background(), req); err == nil || hits.Load() != 0 {
			t.Errorf("%q: err %v, %d requests", host, err, hits.Load())
		}
	})
}

func BenchmarkDo(b *testing.B) {
	s, _ := serve(b, ok)
	c := newClient(b, Options{Allow: loopback})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := get(b, c, s.URL); err != nil {
			b.Fatal(err)
		}
	}
}

// A wide range that the operator opens, or Private, opens no address where clouds
// give out credentials; naming it does.
func TestN1MetadataStaysClosed(t *testing.T) {
	clouds := []string{"169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"}
	wide := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7")}
	for _, allow := range [][]netip.Prefix{private, wide} {
		g := newGuard(allow)
		for _, a := range clouds {
			if err := g.checkAddr(netip.MustParseAddr(a)); !errors.Is(err, Blocked) {
				t.Errorf("allow %v: checkAddr(%s) = %v, want Blocked", allow, a, err)
			}
		}
	}
	for _, a := range []string{"127.0.0.1", "10.1.2.3", "192.168.1.1", "172.31.0.1", "100.64.0.1", "::1", "fd12::1"} {
		if err := newGuard(private).checkAddr(netip.MustParseAddr(a)); err != nil {
			t.Errorf("private: checkAddr(%s) = %v, want nil", a, err)
		}
	}
	for _, a := range []string{"3ffe::1", "2a00:1450::5efe:7f00:1", "224.0.0.1", "64:ff9b::a00:1", "::ffff:169.254.169.254"} {
		if err := newGuard(private).checkAddr(netip.MustParseAddr(a)); !errors.Is(err, Blocked) {
			t.Errorf("private: checkAddr(%s) = %v, want Blocked", a, err)
		}
	}
	for _, a := range clouds {
		addr := netip.MustParseAddr(a)
		if err := newGuard([]netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}).checkAddr(addr); err != nil {
			t.Errorf("named by the operator: checkAddr(%s) = %v, want nil", a, err)
		}
	}
}

func TestNoRedirectsGivesThemBack(t *testing.T) {
	s, hits := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	a, err := get(t, newClient(t, Options{Private: true, NoRedirects: true}), s.URL)
	if err != nil || a.Status != http.StatusFound || hits.Load() != 1 {
		t.Errorf("answer %d, %v after %d requests, want the redirect itself", a.Status, err, hits.Load())
	}
}
