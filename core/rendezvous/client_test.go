package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous/rendezvoustest"
)

func newTestClient(t testing.TB, k keys.Private, now func() time.Time, urls ...string) *Client {
	t.Helper()
	c := NewClient(ClientOptions{
		URLs: urls, Key: k, Now: now,
		Port:      func() int { return 18790 },
		PublicURL: func() string { return "https://gw.example" },
	})
	t.Cleanup(c.own.CloseIdleConnections)
	return c
}

// running runs a client until the test or stop ends it.
func running(t testing.TB, c *Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for range 12000 {
		if is() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestClientRegistersAndDeregisters(t *testing.T) {
	r := newRig(t, ServerOptions{})
	alice, bob := key(t, 1), key(t, 2)
	a := newTestClient(t, alice, r.clock.now, r.url)
	b := newTestClient(t, bob, r.clock.now, r.url+"/")
	stop := running(t, a)
	eventually(t, "registered", func() bool { return a.Status()[0].Registered })
	if s := a.Status()[0]; s.YourIP != "127.0.0.1" || s.Error != "" || s.Next.Before(r.clock.now().Add(20*time.Second)) {
		t.Errorf("Status = %+v", s)
	}
	got, err := b.Lookup(t.Context(), alice.Public())
	if err != nil || !got.Verified || got.URL != "https://gw.example" || got.Port != 18790 || got.Key != alice.Public() || got.Rendezvous != r.url {
		t.Errorf("Lookup = %+v, %v", got, err)
	}
	if _, err := b.Lookup(t.Context(), bob.Public()); !isKind(err, core.NotFound) {
		t.Errorf("Lookup of an unknown key = %v, want core.NotFound", err)
	}
	stop()
	if _, err := b.Lookup(t.Context(), alice.Public()); !isKind(err, core.NotFound) {
		t.Errorf("Lookup after shutdown = %v, want core.NotFound", err)
	}
	if a.Status()[0].Registered {
		t.Error("Status says registered after shutdown")
	}
}

func TestClientInvites(t *testing.T) {
	r := newRig(t, ServerOptions{})
	alice, bob := key(t, 1), key(t, 2)
	a, b := newTestClient(t, alice, r.clock.now, r.url), newTestClient(t, bob, r.clock.now, r.url)
	invite, err := a.Invite(t.Context(), InviteOptions{Approve: true, Uses: 10, Expires: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if !isCode(invite.Code) || len(invite.Secret) != 12 || !invite.Expires.Equal(r.clock.now().Add(5*time.Minute)) {
		t.Fatalf("Invite = %+v", invite)
	}
	noURL := invite.Ref
	noURL.URL = ""
	for _, text := range []string{invite.Short(), invite.Long(), invite.Link(), noURL.Link()} {
		got, err := b.Resolve(t.Context(), text)
		if err != nil || got.Key != alice.Public() || got.URL != "https://gw.example" || got.Ref.Code != invite.Code {
			t.Errorf("Resolve(%s) = %+v, %v", text, got, err)
		}
		if want := text != invite.Short(); (got.Ref.Secret == invite.Secret) != want {
			t.Errorf("Resolve(%s) has the secret = %v, want %v", text, !want, want)
		}
	}
	other := Ref{Code: invite.Code, Pin: pinOf(bob.Public())}
	if _, err := b.Resolve(t.Context(), other.Long()); !isKind(err, core.Conflict) {
		t.Errorf("Resolve with another key's pin = %v, want core.Conflict", err)
	}
	list, err := a.ListInvites(t.Context())
	if err != nil || len(list) != 1 || list[0].Code != invite.Code || list[0].Uses != 10 || list[0].Used != 4 || list[0].Secret != "" {
		t.Errorf("ListInvites = %+v, %v", list, err)
	}

	second, err := a.Invite(t.Context(), InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Revoke(t.Context(), second.Code); !isKind(err, core.NotFound) {
		t.Errorf("Revoke of another's invite = %v, want core.NotFound", err)
	}
	if err := a.Revoke(t.Context(), second.Long()); err != nil {
		t.Errorf("Revoke = %v", err)
	}
	if _, err := b.Resolve(t.Context(), second.Code); !isKind(err, core.NotFound) || !strings.Contains(err.Error(), "Invite code not found or expired. Ask your peer to generate a new one.") {
		t.Errorf("Resolve of a revoked code = %v", err)
	}
	r.clock.add(6 * time.Minute)
	if _, err := b.Resolve(t.Context(), invite.Link()); !isKind(err, core.NotFound) {
		t.Errorf("Resolve of an expired link = %v, want core.NotFound", err)
	}
	for _, o := range []InviteOptions{{Uses: -1}, {Uses: 1001}, {Expires: time.Second}, {Expires: 48 * time.Hour}} {
		if _, err := a.Invite(t.Context(), o); !isKind(err, core.Malformed) {
			t.Errorf("Invite(%+v) = %v, want core.Malformed", o, err)
		}
	}
}

// The pin and the secret stay on this side.
func TestV4PinAndSecretAreNeverSent(t *testing.T) {
	var mu sync.Mutex
	var seen strings.Builder
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintln(&seen, r.Method, r.URL, r.Header, string(body))
		if r.Method == "POST" {
			io.WriteString(w, `{"ok":true,"token":"a3f7k2","expiresIn":600}`)
			return
		}
		w.WriteHeader(404)
		io.WriteString(w, `{"error":"Invite not found or expired"}`)
	}))
	defer server.Close()
	c := newTestClient(t, key(t, 1), nil, server.URL)
	invite, err := c.Invite(t.Context(), InviteOptions{Approve: true})
	if err != nil {
		t.Fatal(err)
	}
	noURL := invite.Ref
	noURL.URL = ""
	for _, text := range []string{invite.Code, invite.Long(), noURL.Link()} {
		if _, err := c.Resolve(t.Context(), text); !isKind(err, core.NotFound) {
			t.Errorf("Resolve = %v, want core.NotFound", err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.Count(seen.String(), "GET /invite/a3f7k2 ") != 3 {
		t.Errorf("sent %s, want three lookups", seen.String())
	}
	for i := 0; i+4 <= len(invite.Secret); i += 4 {
		if strings.Contains(strings.ToUpper(seen.String()), string(invite.Secret[i:i+4])+"-") || strings.Contains(seen.String(), string(invite.Secret)) {
			t.Error("the secret was sent")
		}
	}
	if strings.Contains(seen.String(), invite.Pin) {
		t.Error("the pin was sent")
	}
}

// lying answers a lookup with the same members whatever is asked.
func lying(t testing.TB, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) }))
	t.Cleanup(server.Close)
	return server.URL
}

func recordOf(t testing.TB, k keys.Private, payload string) string {
	t.Helper()
	return fmt.Sprintf(`"record":{"payloadStr":%s,"signature":"%s"}`, appendString(nil, payload), signV2(k, envelope.PurposeRegister, payload))
}

// A hostile server can withhold. It cannot make a client believe another place,
// an old place or another key.
func TestV1ServerCannotLie(t *testing.T) {
	clock := newClock()
	alice, evil := key(t, 1), key(t, 2)
	text := func(k keys.Private, url string, age time.Duration) string {
		return recordText(k.Public(), 1, url, clock.now().Add(-age).UnixMilli())
	}
	head := fmt.Sprintf(`{"pubkey":"%s","ip":"203.0.113.1","port":9,"lastSeen":%d,"verified":true,`, alice.Public(), clock.now().UnixMilli())
	good := recordOf(t, alice, text(alice, "https://gw.example", time.Minute))
	for _, test := range []struct {
		name, body string
		want       string // the URL found; empty: an error
		verified   bool
	}{
		{"honest", head + `"publicUrl":"https://gw.example",` + good + `}`, "https://gw.example", true},
		{"another URL beside the record", head + `"publicUrl":"https://evil.example",` + good + `}`, "https://gw.example", true},
		{"no record", head + `"publicUrl":"https://evil.example"}`, "https://evil.example", false},
		{"no record, no URL", head + `"x":1}`, "http://203.0.113.1:9", false},
		{"signed by another", head + recordOf(t, evil, text(alice, "https://evil.example", 0)) + `}`, "", false},
		{"another's record", head + recordOf(t, evil, text(evil, "https://evil.example", 0)) + `}`, "", false},
		{"signed as 0.7 signs", head + strings.Replace(good, signV2(alice, envelope.PurposeRegister, text(alice, "https://gw.example", time.Minute)), alice.Signature([]byte(text(alice, "https://gw.example", time.Minute))), 1) + `}`, "", false},
		{"bent", head + strings.Replace(good, "gw.example", "ev.example", 1) + `}`, "", false},
		{"old", head + recordOf(t, alice, text(alice, "https://old.example", 16*time.Minute)) + `}`, "", false},
		{"of tomorrow", head + recordOf(t, alice, text(alice, "https://old.example", -24*time.Hour)) + `}`, "", false},
		{"an invite's text", head + recordOf(t, alice, strings.Replace(text(alice, "https://gw.example", 0), `/register"`, `/invite"`, 1)) + `}`, "", false},
		{"another key", strings.Replace(head, alice.Public().String(), evil.Public().String(), 1) + recordOf(t, evil, text(evil, "https://evil.example", 0)) + `}`, "", false},
		{"no place", fmt.Sprintf(`{"pubkey":"%s","ip":"x","port":0}`, alice.Public()), "", false},
		{"a place that is no URL", head + `"publicUrl":"file:///etc/passwd","ip":"x"}`, "", false},
		{"twice the name", head + `"port":1,"port":2}`, "", false},
		{"no JSON", `<html>`, "", false},
		{"too much", head + `"x":"` + strings.Repeat("x", maxAnswerBytes) + `"}`, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newTestClient(t, evil, clock.now, lying(t, test.body))
			got, err := c.Lookup(t.Context(), alice.Public())
			if got.URL != test.want || got.Verified != test.verified || (err == nil) != (test.want != "") {
				t.Errorf("Lookup = %q verified %v, %v, want %q verified %v", got.URL, got.Verified, err, test.want, test.verified)
			}
		})
	}
}

func TestLookupTakesTheNewestSigned(t *testing.T) {
	clock := newClock()
	alice := key(t, 1)
	says := func(url string, age time.Duration, signed bool) string {
		b := fmt.Sprintf(`{"pubkey":"%s","ip":"203.0.113.1","port":9,"publicUrl":"%s"`, alice.Public(), url)
		if signed {
			b += "," + recordOf(t, alice, recordText(alice.Public(), 1, url, clock.now().Add(-age).UnixMilli()))
		}
		return lying(t, b+"}")
	}
	gone := "http://" + ports.Nobody(t)
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	for _, test := range []struct {
		name string
		urls []string
		want string
		kind core.Kind
	}{
		{"the first unsigned", []string{says("https://a.example", 0, false), says("https://b.example", 0, false)}, "https://a.example", ""},
		{"signed before unsigned", []string{says("https://a.example", 0, false), says("https://b.example", time.Minute, true)}, "https://b.example", ""},
		{"the newest signed", []string{says("https://a.example", 2*time.Minute, true), says("https://b.example", time.Minute, true)}, "https://b.example", ""},
		{"the first of two", []string{says("https://a.example", time.Minute, true), says("https://b.example", time.Minute, true)}, "https://a.example", ""},
		{"one is down", []string{gone, says("https://b.example", 0, true)}, "https://b.example", ""},
		{"one does not know", []string{missing.URL, says("https://b.example", 0, true)}, "https://b.example", ""},
		{"one is down, one does not know", []string{gone, missing.URL}, "", core.NotFound},
		{"all are down", []string{gone, gone}, "", core.Unreachable},
		{"none", nil, "", core.Unavailable},
		{"no URL", []string{"rendezvous.example"}, "", core.Malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newTestClient(t, alice, clock.now, test.urls...)
			got, err := c.Lookup(t.Context(), alice.Public())
			if got.URL != test.want || test.kind != "" && !isKind(err, test.kind) {
				t.Errorf("Lookup = %q, %v, want %q, %s", got.URL, err, test.want, test.kind)
			}
		})
	}
	c := newTestClient(t, alice, clock.now)
	for name, err := range map[string]error{
		"Invite": second(c.Invite(t.Context(), InviteOptions{})), "Resolve": second(c.Resolve(t.Context(), "a3f7k2")),
		"ListInvites": second(c.ListInvites(t.Context())), "Revoke": c.Revoke(t.Context(), "a3f7k2"),
	} {
		var e *core.Error
		if !errors.As(err, &e) || e.Kind != core.Unavailable || !strings.Contains(e.Hint, "rendezvous.urls") {
			t.Errorf("%s without servers = %v, want the hint how to configure them", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestResolveAmbiguous(t *testing.T) {
	a, b := key(t, 1), key(t, 2)
	says := func(k keys.Private) string {
		return lying(t, fmt.Sprintf(`{"pubkey":"%s","ip":"203.0.113.1","port":9}`, k.Public()))
	}
	c := newTestClient(t, a, nil, says(a), says(b))
	if _, err := c.Resolve(t.Context(), "a3f7k2"); !isKind(err, core.Ambiguous) {
		t.Errorf("Resolve = %v, want core.Ambiguous", err)
	}
	for _, k := range []keys.Private{a, b} {
		got, err := c.Resolve(t.Context(), Ref{Code: "a3f7k2", Pin: pinOf(k.Public())}.Long())
		if err != nil || got.Key != k.Public() {
			t.Errorf("Resolve of the long form = %v, %v", got.Key, err)
		}
	}
}

// A link can name any server. Ours goes there through the guard only.
func TestN1LinkedServersAreGuarded(t *testing.T) {
	hit := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit = true }))
	defer server.Close()
	c := newTestClient(t, key(t, 1), nil)
	link := Ref{Code: "a3f7k2", Key: key(t, 2).Public(), Rendezvous: server.URL}.Link()
	if _, err := c.Resolve(t.Context(), link); !isKind(err, core.Unreachable) || hit {
		t.Errorf("Resolve = %v, reached = %v, want core.Unreachable for a loopback address", err, hit)
	}
}

// Our client and a server that knows the specification's unsigned API alone.
func TestOldServer(t *testing.T) {
	old := &rendezvoustest.Legacy{}
	server := httptest.NewServer(old)
	defer server.Close()
	alice := key(t, 1)
	a, b := newTestClient(t, alice, nil, server.URL), newTestClient(t, key(t, 2), nil, server.URL)
	stop := running(t, a)
	eventually(t, "registered", func() bool { return a.Status()[0].Registered })
	got, err := b.Lookup(t.Context(), alice.Public())
	if err != nil || got.Verified || got.URL != "http://127.0.0.1:18790" {
		t.Errorf("Lookup = %+v, %v, want the address and port, not verified", got, err)
	}
	invite, err := a.Invite(t.Context(), InviteOptions{Uses: 1, Approve: true})
	if err != nil || invite.Code != "old000" {
		t.Fatalf("Invite = %+v, %v", invite, err)
	}
	for _, text := range []string{invite.Short(), invite.Long()} {
		if got, err := b.Resolve(t.Context(), text); err != nil || got.Key != alice.Public() || got.URL != "http://127.0.0.1:18790" {
			t.Errorf("Resolve(%s) = %+v, %v", text, got, err)
		}
	}
	if _, err := b.Resolve(t.Context(), Ref{Code: "old000", Pin: pinOf(key(t, 2).Public())}.Long()); !isKind(err, core.Conflict) {
		t.Errorf("Resolve with another pin = %v, want core.Conflict", err)
	}
	if list, err := a.ListInvites(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("ListInvites = %v, %v, want none from a server without lists", list, err)
	}
	if err := a.Revoke(t.Context(), invite.Code); !isKind(err, core.NotFound) {
		t.Errorf("Revoke = %v, want core.NotFound", err)
	}
	stop()
	if n := old.Peers(); n != 0 {
		t.Errorf("%d registered after shutdown, want 0", n)
	}
}

// A server of 0.7 gets its signature once it has said that it misses it; a server of
// ours and one before 0.7 never do.
func TestT11LegacySignatureOnlyWhereAsked(t *testing.T) {
	legacy := func(body string) bool {
		var b map[string]any
		if err := json.Unmarshal([]byte(body), &b); err != nil {
			t.Fatal(err)
		}
		return b["payloadStr"] != nil || b["signature"] != nil
	}
	for _, signed := range []bool{false, true} {
		old := &rendezvoustest.Legacy{Signed: signed}
		server := httptest.NewServer(old)
		defer server.Close()
		ours := newRig(t, ServerOptions{})
		ours.clock.atLeast(time.Now())
		a, b := newTestClient(t, key(t, 1), nil, server.URL, ours.url), newTestClient(t, key(t, 2), nil, server.URL, ours.url)
		stop := running(t, a)
		eventually(t, "registered", func() bool { return a.Status()[0].Registered && a.Status()[1].Registered })
		if a.servers[0].wantsLegacy() != signed || a.servers[1].wantsLegacy() {
			t.Errorf("signed %v: legacy is wanted by %v and by ours %v", signed, a.servers[0].wantsLegacy(), a.servers[1].wantsLegacy())
		}
		if _, err := a.Invite(t.Context(), InviteOptions{}); err != nil {
			t.Errorf("Invite = %v", err)
		}
		if got, err := b.Lookup(t.Context(), key(t, 1).Public()); err != nil || got.URL != "https://gw.example" || !got.Verified {
			t.Errorf("Lookup = %+v, %v", got, err)
		}
		stop()
		if n := old.Peers(); n != 0 {
			t.Errorf("%d registered after shutdown, want 0", n)
		}
		bodies := slices.DeleteFunc(old.Bodies(), func(b string) bool { return b == "" })
		if legacy(bodies[0]) {
			t.Errorf("signed as 0.7 signs before anybody asked: %s", bodies[0])
		}
		for _, body := range bodies[1:] {
			if legacy(body) && !signed {
				t.Errorf("signed as 0.7 signs for a server that has not asked: %s", body)
			}
		}
	}
}

// steered is a transport that answers registrations as told, on synctest's clock.
type steered struct {
	mu     sync.Mutex
	calls  []time.Time
	bodies []string
	answer func(n int, r *http.Request) (*http.Response, error)
}

func (s *steered) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	s.mu.Lock()
	s.calls, s.bodies = append(s.calls, time.Now()), append(s.bodies, r.Method+" "+string(body))
	n := len(s.calls)
	s.mu.Unlock() // synctest's time stands still for whoever waits for a mutex
	return s.answer(n, r)
}

func answering(status int, header, body string) (*http.Response, error) {
	r := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	if header != "" {
		r.Header.Set("Retry-After", header)
	}
	return r, nil
}

// drive runs a client for a while and returns the gaps between its calls.
func drive(t *testing.T, d time.Duration, answer func(n int, r *http.Request) (*http.Response, error)) (gaps []time.Duration, s *steered) {
	s = &steered{answer: answer}
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(ClientOptions{URLs: []string{"https://r.example"}, Key: key(t, 1), Port: func() int { return 1 },
			HTTP: &http.Client{Transport: s}, Stranger: &http.Client{Transport: s}})
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	for i := 1; i < len(s.calls); i++ {
		gaps = append(gaps, s.calls[i].Sub(s.calls[i-1]))
	}
	return gaps, s
}

func TestClientHeartbeat(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       time.Duration
	}{
		{"by itself", `{"ok":true,"yourIp":"203.0.113.1"}`, 30 * time.Second},
		{"as steered", `{"ok":true,"reannounceAfter":60}`, time.Minute},
		{"not too often", `{"ok":true,"reannounceAfter":1}`, minHeartbeat},
		{"not too seldom", `{"ok":true,"reannounceAfter":1000000000}`, maxHeartbeat},
	} {
		t.Run(test.name, func(t *testing.T) {
			gaps, s := drive(t, 20*test.want, func(int, *http.Request) (*http.Response, error) { return answering(200, "", test.body) })
			different := map[time.Duration]bool{}
			for _, gap := range gaps[:len(gaps)-1] { // the last is the deregistration
				different[gap] = true
				if gap < test.want*8/10 || gap > test.want*12/10 {
					t.Errorf("a gap of %v, want %v within a fifth", gap, test.want)
				}
			}
			if len(gaps) < 16 || len(different) < len(gaps)/2 {
				t.Errorf("%d calls, %d different gaps, want about 20 and jitter", len(gaps), len(different))
			}
			if last := s.bodies[len(s.bodies)-1]; !strings.HasPrefix(last, "DELETE ") || !strings.Contains(last, `\"ctx\":\"ogp/v2/deregister\"`) {
				t.Errorf("the last call is %s, want a signed DELETE", last)
			}
		})
	}
}

func TestClientBacksOff(t *testing.T) {
	gaps, s := drive(t, 10*time.Minute, func(int, *http.Request) (*http.Response, error) { return nil, errors.New("no route") })
	for i, gap := range gaps {
		want := min(time.Second<<min(i, 10), time.Minute)
		if gap < want*8/10 || gap > want*12/10 {
			t.Errorf("gap %d is %v, want %v within a fifth", i, gap, want)
		}
	}
	if len(gaps) < 10 || len(gaps) > 20 {
		t.Errorf("%d tries in 10 minutes of outage", len(gaps))
	}
	for _, b := range s.bodies {
		if strings.HasPrefix(b, "DELETE") {
			t.Error("deregisters without being registered")
		}
	}
	gaps, _ = drive(t, 10*time.Minute, func(n int, _ *http.Request) (*http.Response, error) {
		if n == 1 {
			return answering(429, "120", `{"error":"Too many requests"}`)
		}
		return answering(200, "", `{"ok":true}`)
	})
	if gaps[0] < 2*time.Minute {
		t.Errorf("comes back after %v, want Retry-After's 2 minutes", gaps[0])
	}
}

// A server that hangs does not hold up the daemon's end.
func TestClientEndsWithin5Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &steered{}
		s.answer = func(_ int, r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				return answering(200, "", `{"ok":true}`)
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		c := NewClient(ClientOptions{URLs: []string{"https://r.example", "https://s.example"}, Key: key(t, 1), HTTP: &http.Client{Transport: s}, Stranger: &http.Client{}})
		ctx, cancel := context.WithCancel(t.Context())
		var ended time.Time
		done := make(chan struct{})
		go func() {
			c.Run(ctx)
			ended = time.Now()
			close(done)
		}()
		synctest.Wait()
		began := time.Now()
		cancel()
		<-done
		if took := ended.Sub(began); took > 10*time.Second {
			t.Errorf("Run ends after %v, want 5 s", took)
		}
	})
}

// No two texts of ours have the same time, or a server would ignore the second.
func TestClientTimesRise(t *testing.T) {
	clock := newClock()
	c := newTestClient(t, key(t, 1), clock.now)
	last := c.stamp()
	for range 100 {
		at := c.stamp()
		if !at.After(last) {
			t.Fatalf("%v after %v", at, last)
		}
		last = at
	}
	clock.add(-3 * time.Minute)
	if at := c.stamp(); !at.After(last) {
		t.Errorf("%v after %v when the clock steps back", at, last)
	}
	// It was an hour ahead: servers would refuse for an hour what comes after what was signed.
	clock.add(-time.Hour)
	if at := c.stamp(); !at.Equal(clock.now().Truncate(time.Millisecond)) {
		t.Errorf("%v, want %v: the clock was put right", at, clock.now())
	}
}

func TestClientErrorsKeepSecrets(t *testing.T) {
	c := newTestClient(t, key(t, 1), nil, "http://"+ports.Nobody(t))
	_, err := c.Resolve(t.Context(), "a3f7k2-ABCD-ABCD-ABCD-SECR-ETSE-CRET")
	if !isKind(err, core.Unreachable) || strings.Contains(err.Error(), "a3f7k2") || strings.Contains(err.Error(), "SECR") {
		t.Errorf("Resolve = %v, want core.Unreachable without the code", err)
	}
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		io.WriteString(w, `{"error":"\u001b[31mred`+strings.Repeat("x", 1000)+`"}`)
	}))
	defer bad.Close()
	c = newTestClient(t, key(t, 1), nil, bad.URL)
	_, err = c.Lookup(t.Context(), key(t, 2).Public())
	if !isKind(err, core.Refused) || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 400 {
		t.Errorf("Lookup = %v, want the server's words clipped and printable", err)
	}
}
