package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/goleak"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// fasthttp keeps one goroutine for the Date header, and one per server that
// sleeps up to 10 s before it sees that the server has stopped.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// start serves an app with the routes that the tests ask for.
func start(t testing.TB, o web.Options) (addr string, log *strings.Builder) {
	t.Helper()
	log = &strings.Builder{}
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	app := web.New(o)
	routes(app)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, app, ln)
	return ln.Addr().String(), log
}

func routes(app *web.App) {
	app.Fiber.Get("/card", func(c *fiber.Ctx) error {
		return web.JSON(c, 200, map[string]string{"url": "http://a/<b>&"})
	})
	app.Fiber.Post("/echo", func(c *fiber.Ctx) error {
		web.Raw(c, 200, web.Body(c))
		return nil
	})
	app.Fiber.Get("/ip", func(c *fiber.Ctx) error {
		return web.JSON(c, 200, web.ClientIP(c).String())
	})
	app.Fiber.Get("/panic", func(c *fiber.Ctx) error { panic("boom") })
	app.Fiber.Get("/error/:nonce?", func(c *fiber.Ctx) error { return errors.New("/etc/secret: no") })
	app.Fiber.Get("/limited", func(c *fiber.Ctx) error {
		return &core.Error{Kind: core.RateLimited, Public: "Too many lookups", RetryAfter: 1500 * time.Millisecond, Err: errors.New("hidden")}
	})
}

func serve(t testing.TB, app *web.App, ln net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	})
}

type answer struct {
	status int
	header http.Header
	body   string
	closed bool // the server closed the connection after it
}

// raw sends bytes as they are and reads one answer.
func raw(t testing.TB, addr, request string) answer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	br := bufio.NewReader(c)
	a, err := read(br, method)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return a
}

func read(br *bufio.Reader, method string) (answer, error) {
	r, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return answer{r.StatusCode, r.Header, string(body), r.Close}, err
}

func post(body string, headers ...string) string {
	return fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
		len(body), strings.Join(append(headers, ""), "\r\n"), body)
}

func TestN2Framing(t *testing.T) {
	addr, _ := start(t, web.Options{})
	head := "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
	for _, test := range []struct {
		name, request string
		want          int
	}{
		{"plain", post(`{"a":1}`), 200},
		{"folded header", post(`{"a":1}`, "X-A: b", " c"), 400},
		{"folded header with a tab", post(`{"a":1}`, "X-A: b", "\tTransfer-Encoding: chunked"), 400},
		{"chunked", head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200},
		{"both lengths", head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400},
		{"both lengths, other order", head + "Transfer-Encoding: chunked\r\ncontent-LENGTH: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400},
		{"two different lengths", head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 400},
		{"two equal lengths", head + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400},
		{"list of lengths", head + "Content-Length: 2, 2\r\n\r\n{}", 400},
		{"signed length", head + "Content-Length: +2\r\n\r\n{}", 400},
		{"two encodings", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"identity", head + "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", 400},
		{"identity alone", head + "Transfer-Encoding: identity\r\n\r\n", 400},
		{"gzip, chunked", head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
		{"space before colon", head + "Content-Length : 2\r\n\r\n{}", 400},
		{"second host", "GET /card HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		{"second equal host", "GET /card HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400},
		{"no host", "GET /card HTTP/1.1\r\n\r\n", 400},
		{"absolute URI", "GET http://a/card HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"absolute URI, other host", "GET http://b/card HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"authority", "GET //b/card HTTP/1.0\r\n\r\n", 400},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"connect", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"URL in a query", "GET /card?u=http://b/c HTTP/1.1\r\nHost: a\r\n\r\n", 200},
		{"no version", "GET /card\r\nHost: a\r\n\r\n", 400},
		{"gzip body", post("\x1f\x8b", "Content-Encoding: gzip"), 415},
		{"identity body", post("{}", "Content-Encoding: identity"), 415},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := raw(t, addr, test.request)
			if got.status != test.want {
				t.Fatalf("status %d %s, want %d", got.status, got.body, test.want)
			}
			if test.want != 200 {
				wantError(t, got)
				if !got.closed {
					t.Error("connection stays open after a request that could be read two ways")
				}
			}
		})
	}
}

// wantError checks that an error is JSON with one member and gives nothing away.
func wantError(t *testing.T, a answer) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("Content-Type %q, want JSON", got)
	}
	if !strings.HasPrefix(a.body, `{"error":"`) || strings.Contains(a.body, "goroutine") || strings.Contains(a.body, "/") {
		t.Errorf("body %q, want one plain error", a.body)
	}
	if got := a.header.Get("Server"); got != "" {
		t.Errorf("Server %q, want none", got)
	}
}

func TestN2Limits(t *testing.T) {
	addr, _ := start(t, web.Options{})
	full := `"` + strings.Repeat("x", web.DefaultMaxBodyBytes-2) + `"`
	if got := raw(t, addr, post(full)); got.status != 200 || len(got.body) != web.DefaultMaxBodyBytes {
		t.Errorf("64 KiB: %d with %d bytes, want 200 with all", got.status, len(got.body))
	}
	tooLong := fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", web.DefaultMaxBodyBytes+1)
	if got := raw(t, addr, tooLong); got.status != 413 {
		t.Errorf("64 KiB and a byte: %d, want 413", got.status)
	} else {
		wantError(t, got)
	}
	chunked := fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", web.DefaultMaxBodyBytes+1, strings.Repeat("x", web.DefaultMaxBodyBytes+1))
	if got := raw(t, addr, chunked); got.status != 413 {
		t.Errorf("a chunk beyond 64 KiB: %d, want 413", got.status)
	}
	if got := raw(t, addr, "GET /card HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", web.MaxHeaderBytes)); got.status != 431 {
		t.Errorf("8 KiB of headers: %d, want 431", got.status)
	} else {
		wantError(t, got)
	}
}

func TestN3ErrorsEchoLittle(t *testing.T) {
	if got := web.ErrorText(strings.Repeat("ä", 1000)); len(got) > 256 || !strings.HasSuffix(got, "ä…") {
		t.Errorf("ErrorText of 2,000 bytes = %q of %d bytes, want at most 256", got, len(got))
	}
	if got := web.ErrorText("short"); got != "short" {
		t.Errorf("ErrorText(short) = %q", got)
	}
}

func TestN6OwnHost(t *testing.T) {
	addr, _ := start(t, web.Options{OwnHost: web.OwnHost("metrics.internal:9290")})
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:9290": 200, "127.0.0.1:9290": 200, "[::1]:9290": 200, "10.1.2.3": 200, name: 200, "metrics.internal:9290": 200,
		"attacker.example": 421, "attacker.example:9290": 421, "localhost.attacker.example": 421, "127.0.0.1.nip.io": 421, "x": 421,
	} {
		if got := raw(t, addr, "GET /card HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); got.status != want {
			t.Errorf("Host %s: %d, want %d", host, got.status, want)
		}
	}
}

func TestN2SlowClientIsCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the read timeout of 5 s")
	}
	addr, _ := start(t, web.Options{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST /echo HTTP/1.1\r\nHost: a\r\n")
	stop := make(chan struct{})
	defer close(stop)
	go func() { // a header line each second would keep a timeout per read alive
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				fmt.Fprintf(c, "X-%d: y\r\n", i)
			}
		}
	}()
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	br := bufio.NewReader(c)
	got, err := read(br, "POST")
	if err != nil || got.status != 408 {
		t.Fatalf("answer %d, %v, want 408", got.status, err)
	}
	if _, err := br.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after 408: %v, want a closed connection", err)
	}
}

func TestN2BodyIsCopiedAndRaw(t *testing.T) {
	addr, _ := start(t, web.Options{})
	for _, test := range []struct{ name, contentType, body, want string }{
		{"json", "application/json", `{"a":"\u00e4"}`, `{"a":"\u00e4"}`},
		{"charset", "Application/JSON ; charset=utf-8", `{"a":1}`, `{"a":1}`},
		{"form", "application/x-www-form-urlencoded", `{"a":1}`, `{}`},
		{"multipart", "multipart/form-data; boundary=x", "--x\r\n\r\n--x--\r\n", `{}`},
		{"text", "text/plain", `{"a":1}`, `{}`},
		{"none", "", `{"a":1}`, `{}`},
		{"similar", "application/jsonp", `{"a":1}`, `{}`},
		{"empty", "application/json", ``, `{}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", test.contentType, len(test.body), test.body)
			if got := raw(t, addr, request); got.status != 200 || got.body != test.want {
				t.Errorf("%d %q, want 200 %q", got.status, got.body, test.want)
			}
		})
	}
}

func TestN3Errors(t *testing.T) {
	addr, log := start(t, web.Options{Name: "test"})
	get := func(method, path string) answer {
		return raw(t, addr, method+" "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	for _, test := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/nothing/<script>", 404, `{"error":"Not found"}`},
		{"BREW", "/nothing", 404, `{"error":"Not found"}`},
		{"DELETE", "/card", 405, `{"error":"Method not allowed"}`},
		{"BREW", "/card", 405, `{"error":"Method not allowed"}`},
		{"GET", "/panic", 500, `{"error":"Internal server error"}`},
		{"GET", "/error", 500, `{"error":"Internal server error"}`},
		{"GET", "/limited", 429, `{"error":"Too many lookups"}`},
	} {
		got := get(test.method, test.path)
		if got.status != test.status || got.body != test.body {
			t.Errorf("%s %s: %d %s, want %d %s", test.method, test.path, got.status, got.body, test.status, test.body)
		}
		wantError(t, got)
		if test.status == 405 && got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: Allow %q, want GET, HEAD", test.method, test.path, got.header.Get("Allow"))
		}
		if test.status == 429 && got.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q, want 2", got.header.Get("Retry-After"))
		}
	}
	if got := get("GET", "/error/secret-nonce"); got.status != 500 || strings.Contains(log.String(), "secret-nonce") {
		t.Errorf("%d, and the log has what the path held: %s", got.status, log)
	}
	for _, want := range []string{"boom", "/etc/secret"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q: %s", want, log)
		}
	}
}

func TestRoutesAreTolerant(t *testing.T) {
	addr, _ := start(t, web.Options{})
	for _, path := range []string{"/card", "/card/", "/CARD", "/Card/?x=1"} {
		if got := raw(t, addr, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); got.status != 200 || got.body != `{"url":"http://a/<b>&"}` {
			t.Errorf("GET %s: %d %s", path, got.status, got.body)
		}
	}
	got := raw(t, addr, "HEAD /card HTTP/1.1\r\nHost: a\r\n\r\n")
	if got.status != 200 || got.body != "" || got.header.Get("Content-Length") != "23" {
		t.Errorf("HEAD: %d, %q, %v", got.status, got.body, got.header)
	}
}

func TestN4ClientIP(t *testing.T) {
	trusting := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, test := range []struct {
		name    string
		proxies []netip.Prefix
		headers []string
		want    string
	}{
		{"direct", nil, nil, "127.0.0.1"},
		{"claimed by anyone", nil, []string{"X-Forwarded-For: 192.0.2.1"}, "127.0.0.1"},
		{"one proxy", trusting, []string{"X-Forwarded-For: 192.0.2.1"}, "192.0.2.1"},
		{"client's own claim stands left", trusting, []string{"X-Forwarded-For: 203.0.113.9, 192.0.2.1"}, "192.0.2.1"},
		{"two proxies", trusting, []string{"X-Forwarded-For: 203.0.113.9, 192.0.2.1, 10.1.2.3"}, "192.0.2.1"},
		{"two lines", trusting, []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 10.1.2.3"}, "192.0.2.1"},
		{"all trusted", trusting, []string{"X-Forwarded-For: 10.9.9.9, 10.1.2.3"}, "10.9.9.9"},
		{"no address", trusting, []string{"X-Forwarded-For: unknown"}, "0.0.0.0"},
		{"no address behind a proxy", trusting, []string{"X-Forwarded-For: x, 10.1.2.3"}, "0.0.0.0"},
		{"garbage right-most", trusting, []string{"X-Forwarded-For: 192.0.2.1, <x>"}, "0.0.0.0"},
		{"an open bracket", trusting, []string{"X-Forwarded-For: 192.0.2.1, [::1"}, "0.0.0.0"},
		{"loopback claimed", trusting, []string{"X-Forwarded-For: ::1"}, "0.0.0.0"},
		{"loopback claimed in brackets", trusting, []string{"X-Forwarded-For: [::1]:99"}, "0.0.0.0"},
		{"loopback claimed, mapped", trusting, []string{"X-Forwarded-For: ::ffff:127.0.0.1"}, "0.0.0.0"},
		{"a proxy's loopback claimed", trusting, []string{"X-Forwarded-For: 127.0.0.1"}, "0.0.0.0"},
		{"loopback claimed beyond a proxy", trusting, []string{"X-Forwarded-For: 127.0.0.9, 10.1.2.3, 127.0.0.1"}, "0.0.0.0"},
		{"a proxy on this machine", trusting, []string{"X-Forwarded-For: 192.0.2.1, 127.0.0.1"}, "192.0.2.1"},
		{"no hop at all", trusting, nil, "127.0.0.1"},
		{"with port", trusting, []string{"X-Forwarded-For: 192.0.2.1:99"}, "192.0.2.1"},
		{"IPv6", trusting, []string{"X-Forwarded-For: 2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", trusting, []string{"X-Forwarded-For: [2001:db8::1]:99"}, "2001:db8::1"},
		{"mapped", trusting, []string{"X-Forwarded-For: ::ffff:192.0.2.1"}, "192.0.2.1"},
		{"other headers", trusting, []string{"X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1"}, "127.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr, _ := start(t, web.Options{TrustedProxies: test.proxies})
			got := raw(t, addr, "GET /ip HTTP/1.1\r\nHost: a\r\n"+strings.Join(append(test.headers, ""), "\r\n")+"\r\n")
			if want := `"` + test.want + `"`; got.body != want {
				t.Errorf("ClientIP = %s, want %s", got.body, want)
			}
		})
	}
}

func TestN4Limiter(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.2")
	l := web.NewLimiter(6, 3)
	for i := range 3 {
		if ok, _ := l.Allow(a, now); !ok {
			t.Fatalf("request %d of a burst of 3 refused", i+1)
		}
	}
	ok, after := l.Allow(a, now)
	if ok || after != 10*time.Second {
		t.Fatalf("Allow = %v, %v, want false, 10s", ok, after)
	}
	if ok, _ := l.Allow(b, now); !ok {
		t.Error("another address pays for the first")
	}
	if ok, _ := l.Check(a, now.Add(10*time.Second)); !ok {
		t.Error("Check refuses after the time that Allow named")
	}
	if ok, _ := l.Allow(a, now.Add(10*time.Second)); !ok {
		t.Error("Allow refuses after the time that it named")
	}
	if ok, _ := l.Allow(a, now.Add(10*time.Second)); ok {
		t.Error("Allow gives two for one interval")
	}

	one := web.NewLimiter(1, 1)
	one.Allow(netip.MustParseAddr("2001:db8::1"), now)
	if ok, _ := one.Allow(netip.MustParseAddr("2001:db8::ffff"), now); ok {
		t.Error("another address of the same /64 starts anew")
	}
	if ok, _ := one.Allow(netip.MustParseAddr("2001:db8:0:1::1"), now); !ok {
		t.Error("another /64 pays for the first")
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	one.Allow(loopback, now)
	if ok, _ := one.Allow(loopback, now); ok {
		t.Error("loopback is exempt unasked")
	}
	one.ExemptLoopback = true
	if ok, _ := one.Allow(loopback, now); !ok {
		t.Error("loopback is not exempt")
	}

	// All of loopback together has the limit of so many addresses.
	l = web.NewLimiter(6, 3)
	l.Loopback = 2
	for i, from := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "127.0.0.9", "127.0.0.1", "::1"} {
		if ok, _ := l.Allow(netip.MustParseAddr(from), now); !ok {
			t.Fatalf("request %d of a burst of 6 of loopback refused", i+1)
		}
	}
	if ok, after := l.Allow(netip.MustParseAddr("127.7.7.7"), now); ok || after != 5*time.Second {
		t.Errorf("Allow of a seventh = %v, %v, want false, 5s", ok, after)
	}
	if ok, _ := l.Allow(a, now); !ok {
		t.Error("another address pays for loopback")
	}
}

func TestServeUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	app := web.New(web.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	routes(app)
	serve(t, app, ln)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
	r, err := client.Get("http://ogp/ip")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); string(body) != `"invalid IP"` {
		t.Errorf("ClientIP = %s, want the zero Addr", body)
	}
}

func TestServeEndsGracefully(t *testing.T) {
	app := web.New(web.Options{})
	routes(app)
	begun, end := make(chan struct{}), make(chan struct{})
	app.Fiber.Get("/slow", func(c *fiber.Ctx) error {
		close(begun)
		<-end
		return web.JSON(c, 200, true)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.Serve(ctx, ln) }()

	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	io.WriteString(c, "GET /card HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, err := read(br, "GET"); err != nil || got.status != 200 {
		t.Fatalf("%v %v", got, err)
	}
	io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	cancel()
	time.AfterFunc(100*time.Millisecond, func() { close(end) })
	if got, err := read(br, "GET"); err != nil || got.status != 200 || !got.closed {
		t.Errorf("the running request got %v, %v, want its answer and a close", got, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func TestServeEndsInTime(t *testing.T) {
	app := web.New(web.Options{Drain: 50 * time.Millisecond})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.Serve(ctx, ln) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /card HTTP/1.1\r\n") // half a request holds the connection
	time.Sleep(50 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection outlives Serve")
	}
}

func TestServeBeforeItBegins(t *testing.T) {
	app := web.New(web.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := app.Serve(ctx, ln); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	app := web.New(web.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := app.Serve(context.Background(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want net.ErrClosed", err)
	}
}

func TestStatusOf(t *testing.T) {
	for kind, want := range map[core.Kind]int{
		core.Malformed: 400, core.Stale: 400, core.BadSignature: 401, core.Forbidden: 403, core.NotApproved: 403,
		core.UnknownPeer: 403, core.NotFound: 404, core.Conflict: 409, core.Replayed: 409, core.TooLarge: 413,
		core.Unsupported: 415, core.RateLimited: 429, core.Internal: 500, core.Unavailable: 503, core.Full: 507,
		core.Kind("new"): 500,
	} {
		if got := web.StatusOf(kind); got != want {
			t.Errorf("StatusOf(%s) = %d, want %d", kind, got, want)
		}
	}
}

// Whatever comes, the server answers with JSON or closes, and no request is seen
// twice: a marker in the body is never read as a second request.
func FuzzRawRequests(f *testing.F) {
	f.Add([]byte(post(`{"a":1}`)))
	f.Add([]byte("GET /card HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Add([]byte("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	f.Add([]byte("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("GET http://x/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"))
	addr, _ := start(f, web.Options{})
	f.Fuzz(func(t *testing.T, request []byte) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.(*net.TCPConn).SetLinger(0) // leave no port in TIME_WAIT: there are only 28,000
		c.Write(request)
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		br := bufio.NewReader(c)
		for {
			a, err := read(br, "GET")
			if err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("no answer and no close for %q", request)
				}
				return
			}
			if a.status >= 400 && len(a.body) > 0 && !strings.HasPrefix(a.body, `{"error":"`) {
				t.Fatalf("%d %q for %q, want a JSON error", a.status, a.body, request)
			}
			if a.status == 500 && !strings.Contains(strings.ToLower(string(request)), "/panic") && !strings.Contains(strings.ToLower(string(request)), "/error") {
				t.Fatalf("500 for %q", request)
			}
			if a.closed {
				return
			}
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	addr, _ := start(b, web.Options{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	request := []byte("GET /card HTTP/1.1\r\nHost: a\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		c.Write(request)
		if a, err := read(br, "GET"); err != nil || a.status != 200 {
			b.Fatal(a, err)
		}
	}
}

func BenchmarkLimiter(b *testing.B) {
	l, now, i := web.NewLimiter(5, 5), time.Now(), 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		l.Allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
}
