package federation_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

func TestMain(m *testing.M) { coretest.Main(m) }

var (
	_ federation.Gateway = (*gateway.Gateway)(nil)
	_ gateway.Transport  = (*federation.Client)(nil)
)

// fake answers every envelope with an error.
type fake struct{ err error }

func (f fake) Card(string, string, string) core.Card { return core.Card{} }
func (f fake) Pong() core.Pong                       { return core.Pong{Pong: true} }
func (f fake) ReceiveRequest(context.Context, []byte, netip.Addr) (core.Answer, error) {
	return core.Answer{}, f.err
}
func (f fake) ReceiveApproval(context.Context, []byte) (core.Answer, error) {
	return core.Answer{}, f.err
}
func (f fake) ReceiveRemoval(context.Context, []byte) (core.Answer, error) {
	return core.Answer{}, f.err
}
func (f fake) ReceiveMessage(context.Context, []byte) (core.Answer, error) {
	return core.Answer{}, f.err
}
func (f fake) ReceiveReply(context.Context, core.Nonce, []byte) (core.Answer, error) {
	return core.Answer{}, f.err
}
func (f fake) ReceiveIdentity(context.Context, []byte) (core.Answer, error) {
	return core.Answer{}, f.err
}
func (f fake) PollReply(context.Context, core.Nonce) (core.Answer, error) {
	return core.Answer{}, f.err
}

// call asks a server without a network.
func call(t *testing.T, app *fiber.App, method, path, body string) (int, http.Header, string) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	resp, err := app.Test(req, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// Every error leaves in the shape of its endpoint, with nothing of what is
// inside.
func TestN3Errors(t *testing.T) {
	secret := errors.New("/home/op/.ogp/ogp.db: disk I/O error")
	limited := core.Refuse(core.RateLimited, "Rate limit exceeded for intent 'x'")
	limited.RetryAfter, limited.Err = 1500*time.Millisecond, secret
	internal := &core.Error{Kind: core.Internal, Public: "oops", Err: secret}
	full := &core.Error{Kind: core.Full, Public: "No space to store it", RetryAfter: 30 * time.Second, Err: secret}
	bare := &core.Error{Kind: core.Unavailable, Err: secret}
	detail := core.Refuse(core.Forbidden, "no")
	detail.Detail = core.Raw(`{"status":"rejected"}`)
	for _, c := range []struct {
		err              error
		path             string
		status           int
		retryAfter, body string
	}{
		{limited, "message", 429, "2", `{"success":false,"error":"Rate limit exceeded for intent 'x'","statusCode":429,"retryAfter":2}`},
		{limited, "request", 429, "2", `{"error":"Rate limit exceeded for intent 'x'"}`},
		{core.Refuse(core.BadSignature, "Invalid signature"), "message", 401, "", `{"success":false,"error":"Invalid signature","statusCode":401}`},
		{core.Refuse(core.BadSignature, "Invalid signature"), "removed", 403, "", `{"success":false,"error":"Invalid signature"}`},
		{core.Refuse(core.BadSignature, "Invalid signature"), "reply/n", 401, "", `{"error":"Invalid signature"}`},
		{core.Refuse(core.Malformed, "Missing message or signature"), "message", 400, "", `{"error":"Missing message or signature"}`},
		{core.Refuse(core.NotFound, "Unknown peer"), "removed", 404, "", `{"success":false,"error":"Unknown peer"}`},
		{core.Refuse(core.NotFound, "No pending peer found"), "approve", 404, "", `{"error":"No pending peer found"}`},
		{detail, "message", 403, "", `{"success":false,"error":"no","statusCode":403,"response":{"status":"rejected"}}`},
		{internal, "message", 500, "", `{"success":false,"error":"Internal server error","statusCode":500}`},
		{internal, "removed", 500, "", `{"success":false,"error":"Failed to update peer status"}`},
		{internal, "request", 500, "", `{"error":"Internal server error"}`},
		{secret, "message", 500, "", `{"success":false,"error":"Internal server error","statusCode":500}`},
		{secret, "update-identity", 500, "", `{"error":"Internal server error"}`},
		{full, "removed", 507, "30", `{"success":false,"error":"No space to store it"}`},
		{bare, "message", 503, "", `{"success":false,"error":"Service Unavailable","statusCode":503}`},
		{bare, "removed", 503, "", `{"success":false,"error":"Service Unavailable"}`},
	} {
		app := federation.NewServer(federation.Options{Gateway: fake{c.err}}).Fiber
		status, header, body := call(t, app, http.MethodPost, "/federation/"+c.path, `{}`)
		if status != c.status || body != c.body || header.Get("Retry-After") != c.retryAfter {
			t.Errorf("%s with %v:\n got %d %s (retry after %q)\nwant %d %s (%q)", c.path, c.err, status, body, header.Get("Retry-After"), c.status, c.body, c.retryAfter)
		}
		if ct := header.Get("Content-Type"); ct != "application/json; charset=utf-8" {
			t.Errorf("%s: content type %q", c.path, ct)
		}
	}
}

func TestN3Routes(t *testing.T) {
	app := federation.NewServer(federation.Options{Gateway: fake{}}).Fiber
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/.well-known/ogp", 200}, {"HEAD", "/.well-known/ogp", 200}, {"GET", "/federation/ping", 200}, {"GET", "/federation/ping/", 200},
		{"GET", "/", 404}, {"POST", "/federation/nothing", 404}, {"GET", "/federation/message", 405}, {"DELETE", "/federation/ping", 405}, {"PUT", "/federation/reply/n", 405},
	} {
		status, _, body := call(t, app, c.method, c.path, "")
		var o map[string]any
		if err := json.Unmarshal([]byte(body), &o); status != c.status || c.method != "HEAD" && err != nil {
			t.Errorf("%s %s: %d %s, want %d with JSON", c.method, c.path, status, body, c.status)
		}
	}
}

// An address runs out of tries with envelopes of nobody known, and of reads; the
// answer says when to come again.
func TestN4Limits(t *testing.T) {
	app := federation.NewServer(federation.Options{Gateway: fake{core.Refuse(core.UnknownPeer, "Unknown peer")},
		Limits: federation.Limits{CardsPerMinute: 3, StrangersPerMinute: 2}}).Fiber
	var got []int
	for range 4 {
		status, _, _ := call(t, app, "POST", "/federation/message", `{}`)
		got = append(got, status)
	}
	for range 4 {
		status, header, _ := call(t, app, "GET", "/federation/ping", "")
		got = append(got, status)
		if status == 429 && header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	want := []int{403, 403, 429, 429, 200, 200, 200, 429}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("statuses %v, want %v", got, want)
		}
	}
	// Receipts of those who are known are not counted.
	app = federation.NewServer(federation.Options{Gateway: fake{core.Refuse(core.Forbidden, "no")},
		Limits: federation.Limits{StrangersPerMinute: 1}}).Fiber
	for range 5 {
		if status, _, _ := call(t, app, "POST", "/federation/message", `{}`); status != 403 {
			t.Fatalf("a known peer's envelope: %d, want 403", status)
		}
	}
}

// Who cannot take anything now says so before anything is looked at, and still shows its card.
func TestAway(t *testing.T) {
	var away error
	app := federation.NewServer(federation.Options{Gateway: fake{core.Refuse(core.Forbidden, "no")}, Away: func() error { return away }}).Fiber
	for _, want := range []int{403, 503, 403} {
		if away = nil; want == 503 {
			away = &core.Error{Kind: core.Unavailable, Public: "not now", RetryAfter: 2 * time.Second}
		}
		for _, c := range []struct{ method, path string }{
			{"POST", "/federation/request"}, {"POST", "/federation/approve"}, {"POST", "/federation/removed"}, {"POST", "/federation/message"},
			{"POST", "/federation/reply/x"}, {"POST", "/federation/update-identity"}, {"GET", "/federation/reply/x"},
		} {
			status, header, body := call(t, app, c.method, c.path, `{}`)
			if status != want || want == 503 && (header.Get("Retry-After") != "2" || !strings.Contains(body, "not now")) {
				t.Errorf("%s %s: %d, Retry-After %q, %s, want %d", c.method, c.path, status, header.Get("Retry-After"), body, want)
			}
		}
	}
	away = core.Refuse(core.Unavailable, "not now")
	if status, _, _ := call(t, app, "GET", "/.well-known/ogp", ""); status != 200 {
		t.Errorf("the card: %d, want 200", status)
	}
}

// heard notes the nonces that polls and replies are about.
type heard struct {
	federation.Gateway
	nonces *[]core.Nonce
}

func (h heard) PollReply(_ context.Context, nonce core.Nonce) (core.Answer, error) {
	*h.nonces = append(*h.nonces, nonce)
	return core.Answer{Status: 200, Body: []byte(`{}`)}, nil
}

func (h heard) ReceiveReply(_ context.Context, nonce core.Nonce, _ []byte) (core.Answer, error) {
	*h.nonces = append(*h.nonces, nonce)
	return core.Answer{Status: 200, Body: []byte(`{}`)}, nil
}

// A nonce is what it was before it was escaped for the path.
func TestNonceInThePath(t *testing.T) {
	for path, want := range map[string]core.Nonce{
		"x%20y": "x y", "x%25y": "x%y", "x%2Fy": "x/y", "a%20b%2Fc%25d": "a b/c%d", "3f2c": "3f2c",
	} {
		var got []core.Nonce
		app := federation.NewServer(federation.Options{Gateway: heard{nil, &got}}).Fiber
		call(t, app, "GET", "/federation/reply/"+path, "")
		call(t, app, "POST", "/federation/reply/"+path, `{}`)
		if !slices.Equal(got, []core.Nonce{want, want}) {
			t.Errorf("%s: %q, want %q twice", path, got, want)
		}
	}
}

// A nonce that can name nothing asks for nothing, and is not sent back.
func TestN3UnsoundNonces(t *testing.T) {
	for name, path := range map[string]string{"long": strings.Repeat("n", 2000), "a byte too long": strings.Repeat("n", core.MaxNonceBytes+1),
		"NUL": "a%00b", "a line": "a%0Ab", "no UTF-8": "a%ff"} {
		var got []core.Nonce
		app := federation.NewServer(federation.Options{Gateway: heard{nil, &got}}).Fiber
		for _, method := range []string{"GET", "POST"} {
			status, _, body := call(t, app, method, "/federation/reply/"+path, `{}`)
			if status != 400 || body != `{"error":"Invalid nonce"}` {
				t.Errorf("%s, %s: %d %.300s, want 400 and nothing of it", name, method, status, body)
			}
		}
		if len(got) > 0 {
			t.Errorf("%s: the gateway was asked for %.40q", name, got)
		}
	}
}

// TestN4ClaimedLoopback: who claims to be loopback is nobody, who has one budget;
// connections of loopback, behind which are many, have as much as many addresses, together.
func TestN4ClaimedLoopback(t *testing.T) {
	for claim, want := range map[string]int{"": 403, "X-Forwarded-For: [::1]\r\n": 429, "X-Forwarded-For: ::1\r\n": 429,
		"X-Forwarded-For: 127.0.0.1\r\n": 429, "X-Forwarded-For: 192.0.2.1, ::ffff:127.0.0.1\r\n": 429} {
		app := federation.NewServer(federation.Options{Gateway: fake{core.Refuse(core.UnknownPeer, "Unknown peer")},
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Limits: federation.Limits{StrangersPerMinute: 5, CardsPerMinute: 20}})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- app.Serve(ctx, ln) }()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		last, r := 0, bufio.NewReader(c)
		for range 20 {
			fmt.Fprintf(c, "POST /federation/message HTTP/1.1\r\nHost: a\r\n%sContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", claim)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			last = resp.StatusCode
		}
		if last != want {
			t.Errorf("the twentieth bad envelope with %q: %d, want %d", claim, last, want)
		}
		for _, path := range []string{"POST /federation/message", "GET /federation/reply/guessed"} {
			for range 2000 {
				fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: a\r\n%sContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", path, claim)
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				if last = resp.StatusCode; last == 429 {
					break
				}
			}
			if last != 429 {
				t.Errorf("2000 times %s with %q: %d, want 429", path, claim, last)
			}
		}
		c.Close()
		stop()
		<-done
	}
}

// answered has a reply to one nonce.
type answered struct{ federation.Gateway }

func (a answered) PollReply(ctx context.Context, nonce core.Nonce) (core.Answer, error) {
	if nonce == "answered" {
		return core.Answer{Status: 200, Body: []byte(`{}`)}, nil
	}
	return a.Gateway.PollReply(ctx, nonce)
}

// TestD7FriendsAtACrowdedAddress: envelopes of nobody from an address that is out of
// tries keep no known peer there from being heard, and its polls from being answered.
func TestD7FriendsAtACrowdedAddress(t *testing.T) {
	alice, bob := coretest.Pair(t)
	coretest.Federate(t, alice, bob)
	app := federation.NewServer(federation.Options{Gateway: answered{bob.Gateway}, Limits: federation.Limits{CardsPerMinute: 60, StrangersPerMinute: 60}}).Fiber
	sealer := &envelope.Sealer{Key: alice.Private}
	message := func(nonce string, by *envelope.Sealer) string {
		body, err := by.SealMessage(bob.Key(), core.Message{Intent: core.IntentMessage, From: alice.Key().String(), To: bob.Key().String(),
			Nonce: core.Nonce(nonce), Timestamp: core.FormatTime(time.Now()), Payload: core.Raw(`{"text":"hi"}`)})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	stranger := &envelope.Sealer{Key: keys.Generate()}
	for by, want := range map[*envelope.Sealer]string{sealer: "known", stranger: ""} { // who carries it hears when a signature holds
		heard := ""
		ctx := core.OnVerified(t.Context(), func(known bool) { heard = map[bool]string{true: "known", false: "anybody"}[known] })
		if _, _ = bob.Gateway.ReceiveMessage(ctx, []byte(message("heard", by))); heard != want {
			t.Errorf("a message verified for %q, want %q", heard, want)
		}
	}
	for i := range 200 { // in alice's name, and of no form at all
		body := `{"message":1}`
		if i%2 == 0 {
			body = message(fmt.Sprint("forged-", i), stranger)
		}
		if status, _, answer := call(t, app, "POST", "/federation/message", body); status < 400 {
			t.Fatalf("envelope %d of nobody: %d %s", i, status, answer)
		}
	}
	if status, _, answer := call(t, app, "POST", "/federation/message", `{"message":1}`); status != 429 {
		t.Errorf("an envelope of nobody out of tries: %d %s, want 429", status, answer)
	}
	status := func(by *envelope.Sealer) string {
		body, err := by.SealMessage(bob.Key(), core.Message{Intent: core.IntentStatus, From: by.Key.Public().String(), To: bob.Key().String(),
			Nonce: "status", Timestamp: core.FormatTime(time.Now())})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if status, _, answer := call(t, app, "POST", "/federation/message", status(stranger)); status != 429 { // else a signed no for each
		t.Errorf("a stranger who asks whether it is approved, out of tries: %d %s, want 429", status, answer)
	}
	if status, _, answer := call(t, app, "POST", "/federation/message", status(sealer)); status != 200 {
		t.Errorf("alice, who asks whether she is approved: %d %s, want 200", status, answer)
	}
	if status, _, answer := call(t, app, "POST", "/federation/message", message("true-1", sealer)); status != 200 {
		t.Errorf("alice at the same address: %d %s, want 200", status, answer)
	}
	for range 100 {
		call(t, app, "GET", "/federation/reply/guessed", "")
	}
	if status, _, _ := call(t, app, "GET", "/federation/reply/guessed", ""); status != 429 {
		t.Errorf("a guessed nonce out of tries: %d, want 429", status)
	}
	if status, _, answer := call(t, app, "GET", "/federation/reply/answered", ""); status != 200 {
		t.Errorf("a poll with the nonce: %d %s, want 200", status, answer)
	}
}

// slow has a known peer's messages wait for a policy, and nobody's be refused at once.
type slow struct {
	federation.Gateway
	judged chan struct{}
	under  *atomic.Int32
}

func (s slow) ReceiveMessage(ctx context.Context, body []byte) (core.Answer, error) {
	if !bytes.Contains(body, []byte("known")) {
		return core.Answer{}, core.Refuse(core.BadSignature, "no")
	}
	core.Verified(ctx)(true)
	if bytes.Contains(body, []byte("wrong")) {
		return core.Answer{}, core.Refuse(core.Malformed, "the message is for another gateway")
	}
	s.under.Add(1)
	<-s.judged
	return core.Answer{Status: 200, Body: []byte(`{}`)}, nil
}

// TestD7LooksAreShort: what a known peer's message waits for, once its signature holds,
// keeps no other letter of a crowded address waiting; and a known peer there is told what
// is wrong with its letter, not that there are too many.
func TestD7LooksAreShort(t *testing.T) {
	g := slow{fake{}, make(chan struct{}), &atomic.Int32{}}
	app := federation.NewServer(federation.Options{Gateway: g, Limits: federation.Limits{StrangersPerMinute: 1}}).Fiber
	for range 3 {
		call(t, app, "POST", "/federation/message", `{}`)
	}
	many := runtime.GOMAXPROCS(0) + 2
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() {
			if status, _, answer := call(t, app, "POST", "/federation/message", `{"known":1}`); status != 200 {
				t.Errorf("one of %d messages of a known peer: %d %s, want 200", many, status, answer)
			}
		})
	}
	for end := time.Now().Add(60 * time.Second); int(g.under.Load()) < many && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := int(g.under.Load()); n < many {
		t.Errorf("%d messages of a known peer are judged, want all %d", n, many)
	}
	if status, _, answer := call(t, app, "POST", "/federation/message", `{"known":1,"wrong":1}`); status != 400 {
		t.Errorf("a known peer's message for another: %d %s, want 400", status, answer)
	}
	close(g.judged)
	wg.Wait()
}

func TestClient(t *testing.T) {
	var answer func(w http.ResponseWriter, r *http.Request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer server.Close()
	d := dial.New(dial.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	defer d.CloseIdle()
	c := federation.NewClient(d)
	ctx := t.Context()

	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "0": 0, "99999999999999": time.Hour, "9223372036854775807": time.Hour, "soon": 0,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 0, time.Now().Add(48 * time.Hour).UTC().Format(http.TimeFormat): time.Hour,
	} {
		answer = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(503)
		}
		a, err := c.Post(ctx, server.URL+"/", "/federation/message", []byte(`{}`))
		if err != nil || a.Status != 503 || a.RetryAfter != want {
			t.Errorf("Retry-After %q = %v, %v, want %v", header, a.RetryAfter, err, want)
		}
	}
	for body, want := range map[string]time.Duration{
		`{"retryAfter":12}`: 12 * time.Second, `{"retryAfter":1e300}`: time.Hour, `{"retryAfter":-5}`: 0, `{"retryAfter":"x"}`: 0, `[]`: 0, ``: 0,
	} {
		answer = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429); w.Write([]byte(body)) }
		a, err := c.Post(ctx, server.URL, "/x", []byte(`{}`))
		if err != nil || a.RetryAfter != want {
			t.Errorf("body %s = %v, %v, want %v", body, a.RetryAfter, err, want)
		}
	}
	answer = func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<html>hello</html>")) }
	if _, err := c.Card(ctx, server.URL, nil); !errors.Is(err, core.Refused) {
		t.Errorf("Card of a web page = %v, want Refused", err)
	}
	if _, err := c.Ping(ctx, server.URL); !errors.Is(err, core.Refused) {
		t.Errorf("Ping of a web page = %v, want Refused", err)
	}
	var path string
	answer = func(w http.ResponseWriter, r *http.Request) { path = r.URL.EscapedPath() }
	if _, err := c.PollReply(ctx, server.URL, "a/../b?c"); err != nil || path != "/federation/reply/a%2F..%2Fb%3Fc" {
		t.Errorf("PollReply asked for %s, %v", path, err)
	}
	blocked := federation.NewClient(dial.New(dial.Options{}))
	_, err := blocked.Card(ctx, server.URL, nil)
	var e *core.Error
	if !errors.As(err, &e) || e.Kind != core.Unreachable || !strings.Contains(e.Hint, "127.0.0.0/8") {
		t.Errorf("a blocked address = %v, want Unreachable with a hint that names the range", err)
	}
	if _, err := c.Post(ctx, "http://x\n", "/x", nil); !errors.Is(err, core.Malformed) {
		t.Errorf("no URL = %v, want Malformed", err)
	}
}
