package valkey

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/rendezvous/rendezvoustest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// logged is what a Store says.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func open(t testing.TB, at string, o rendezvous.ServerOptions) (*Store, *logged) {
	t.Helper()
	a, err := ParseURL(at)
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	s, err := Open(t.Context(), Options{At: a, Limits: o.Limits(), MaxAge: o.MaxAge, Now: o.Now, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, log
}

// double is an engine that ends and comes back at the same port, which nobody takes
// meanwhile.
func double(t *testing.T) *miniredis.Miniredis {
	t.Helper()
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:" + strconv.Itoa(ports.Free(t))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// engines runs a test on the double, and on the engine itself where there is one.
func engines(t *testing.T, f func(t *testing.T, at string)) {
	t.Run("double", func(t *testing.T) { f(t, "valkey://"+miniredis.RunT(t).Addr()) })
	if rendezvoustest.HasEngine() {
		t.Run("engine", func(t *testing.T) { f(t, "valkey://"+rendezvoustest.NewEngine(t).Addr()) })
	}
}

// serve runs a server on a store and returns its URL.
func serve(t testing.TB, o rendezvous.ServerOptions) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rendezvous.NewServer(o).Serve(ctx, ln) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + ln.Addr().String()
}

func client(t testing.TB, k keys.Private, urls ...string) *rendezvous.Client {
	return rendezvous.NewClient(rendezvous.ClientOptions{URLs: urls, Key: k, Port: func() int { return 18790 }, PublicURL: func() string { return "https://gw.example" }})
}

func eventually(t testing.TB, what string, within time.Duration, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func sealed(k keys.Private, h envelope.Hints, at time.Time) []byte {
	body, err := (&envelope.Sealer{Key: k}).SealHints(h, at)
	if err != nil {
		panic(err) // the key is here
	}
	return body
}

// registration is one of ours, signed.
func registration(k keys.Private, at time.Time) rendezvous.Registration {
	body := sealed(k, envelope.Hints{Purpose: envelope.PurposeRegister, Port: 18790, PublicURL: "https://gw.example"}, at)
	h, err := new(envelope.Opener).OpenHints(body, envelope.PurposeRegister, false)
	if err != nil {
		panic(err)
	}
	return rendezvous.Registration{Key: h.Key, Addr: netip.MustParseAddr("203.0.113.1"), Port: h.Value.Port, PublicURL: h.Value.PublicURL,
		Signed: true, Record: h.Record, SentAt: h.SentAt}
}

// What one server is told, the other knows: records, their ends, codes.
func TestTwoServers(t *testing.T) {
	engines(t, func(t *testing.T, at string) {
		var urls []string
		for range 2 {
			s, _ := open(t, at, rendezvous.ServerOptions{})
			urls = append(urls, serve(t, rendezvous.ServerOptions{Store: s}))
		}
		alice, bob := keys.Generate(), keys.Generate()
		a, b := client(t, alice, urls[0]), client(t, bob, urls[1])
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); a.Run(ctx) }()
		eventually(t, "alice is registered", 60*time.Second, func() bool { return a.Status()[0].Registered })
		got, err := b.Lookup(t.Context(), alice.Public())
		if err != nil || !got.Verified || got.URL != "https://gw.example" {
			t.Fatalf("Lookup at the other server = %+v, %v", got, err)
		}
		invite, err := a.Invite(t.Context(), rendezvous.InviteOptions{Uses: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Resolve(t.Context(), invite.Long()); err != nil || got.Key != alice.Public() || !got.Verified {
			t.Errorf("Resolve at the other server = %+v, %v", got, err)
		}
		if _, err := client(t, bob, urls[0]).Resolve(t.Context(), invite.Short()); !errors.Is(err, core.NotFound) {
			t.Errorf("Resolve of a code that the other server has used up = %v, want core.NotFound", err)
		}
		second, err := a.Invite(t.Context(), rendezvous.InviteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		there := client(t, alice, urls[1])
		if list, err := there.ListInvites(t.Context()); err != nil || len(list) != 1 || list[0].Code != second.Code {
			t.Errorf("ListInvites at the other server = %+v, %v; want the one that is open", list, err)
		}
		if err := there.Revoke(t.Context(), second.Code); err != nil {
			t.Errorf("Revoke at the other server = %v", err)
		}
		cancel()
		<-ended
		eventually(t, "the other server knows that alice has gone", 60*time.Second, func() bool {
			_, err := b.Lookup(t.Context(), alice.Public())
			return errors.Is(err, core.NotFound)
		})
	})
}

// A code with N uses is resolved N times over all servers, however many ask at once.
func TestV4UsesOverServers(t *testing.T) {
	engines(t, func(t *testing.T, at string) {
		const uses, tries = 25, 100
		var stores []*Store
		for range 2 {
			s, _ := open(t, at, rendezvous.ServerOptions{MissesPerMinute: 1e6})
			stores = append(stores, s)
		}
		now := time.Now()
		code, err := stores[0].AddCode(t.Context(), rendezvous.Code{Key: keys.Generate().Public(), Addr: netip.MustParseAddr("203.0.113.1"), Port: 1,
			Created: now.UnixMilli(), Expires: now.Add(time.Minute).UnixMilli(), Uses: uses}, time.Time{}, now)
		if err != nil {
			t.Fatal(err)
		}
		var found, missed atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range tries / 8 {
					switch _, err := stores[i%2].Resolve(t.Context(), code, netip.MustParseAddr("127.0.0.1"), true, time.Now()); {
					case err == nil:
						found.Add(1)
					case errors.Is(err, core.NotFound):
						missed.Add(1)
					default:
						t.Errorf("Resolve = %v", err)
					}
				}
			})
		}
		wg.Wait()
		if found.Load() != uses || found.Load()+missed.Load() != tries/8*8 {
			t.Errorf("resolved %d times and missed %d, want exactly %d uses", found.Load(), missed.Load(), uses)
		}
	})
}

// An address has its limits once, and not once at each server.
func TestV5LimitsOverServers(t *testing.T) {
	engines(t, func(t *testing.T, at string) {
		var ms atomic.Int64
		ms.Store(time.Now().UnixMilli())
		o := rendezvous.ServerOptions{PostsPerMinute: 60, ReadsPerMinute: 6000, MaxPerAddress: 3, MaxInvitesPerKey: 3,
			Now: func() time.Time { return time.UnixMilli(ms.Load()) }}
		var stores []*Store
		for range 2 {
			s, _ := open(t, at, o)
			stores = append(stores, s)
		}
		addr := netip.MustParseAddr("203.0.113.1")
		admitted := func(b rendezvous.Budget, tries int) (n int) {
			var count atomic.Int64
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					for range tries / 4 {
						if err := stores[i%2].Admit(t.Context(), b, addr, o.Now()); err == nil {
							count.Add(1)
						} else if !errors.Is(err, core.RateLimited) {
							t.Errorf("Admit = %v", err)
						}
					}
				})
			}
			wg.Wait()
			return int(count.Load())
		}
		if n := admitted(rendezvous.BudgetPosts, 40); n != 10 {
			t.Errorf("%d posts at once, want exactly 10", n)
		}
		ms.Add(1000)
		if n := admitted(rendezvous.BudgetPosts, 8); n != 1 {
			t.Errorf("%d posts a second later, want 1", n)
		}
		// Reads are taken by the hundred, so that most need not ask the engine.
		if n := admitted(rendezvous.BudgetReads, 2000); n != 1000 {
			t.Errorf("%d reads at once, want exactly 1000", n)
		}
		var refused error
		for i := range 5 {
			r := registration(keys.Generate(), o.Now())
			if _, err := stores[i%2].Put(t.Context(), r, o.Now()); err != nil {
				refused = err
				if i < 3 {
					t.Errorf("registration %d: %v", i, err)
				}
			}
		}
		if !errors.Is(refused, core.RateLimited) {
			t.Errorf("the last of 5 registrations of one address = %v, want core.RateLimited", refused)
		}
	})
}

// The same key at two servers at once: one of the texts is the newest, and stays.
func TestV2NewestOverServers(t *testing.T) {
	engines(t, func(t *testing.T, at string) {
		a, _ := open(t, at, rendezvous.ServerOptions{})
		b, _ := open(t, at, rendezvous.ServerOptions{})
		k, now := keys.Generate(), time.Now().Truncate(time.Millisecond)
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				s := []*Store{a, b}[i%2]
				if _, err := s.Put(t.Context(), registration(k, now.Add(time.Duration(i)*time.Millisecond)), now); err != nil && !errors.Is(err, core.Conflict) {
					t.Errorf("Put = %v", err)
				}
			})
		}
		wg.Wait()
		for _, s := range []*Store{a, b} {
			newest := now.Add(39 * time.Millisecond)
			if ok, err := s.Newer(t.Context(), k.Public(), newest, now); err != nil || ok {
				t.Errorf("Newer(the newest) = %v, %v; want it known", ok, err)
			}
			if ok, err := s.Newer(t.Context(), k.Public(), newest.Add(time.Millisecond), now); err != nil || !ok {
				t.Errorf("Newer(a newer one) = %v, %v; want true", ok, err)
			}
		}
	})
}

// Servers whose clocks differ go by the engine's: a record that one has taken lives at
// the other for as long.
func TestClocksOfServers(t *testing.T) {
	engine := double(t)
	at := "valkey://" + engine.Addr()
	s, _ := open(t, at, rendezvous.ServerOptions{})
	for _, skew := range []time.Duration{0, 4 * time.Minute, -4 * time.Minute} {
		engine.SetTime(time.Now().Add(skew))
		if _, err := s.Counts(t.Context(), time.Now()); err != nil { // as each second
			t.Fatal(err)
		}
		k := keys.Generate()
		if _, err := s.Put(t.Context(), registration(k, time.Now()), time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), k.Public(), time.Now()); err != nil {
			t.Errorf("engine %v ahead: Get = %v", skew, err)
		}
		if d := time.Until(time.UnixMilli(s.now())) - skew; d.Abs() > time.Second {
			t.Errorf("engine %v ahead: we take its clock for %v from that", skew, d)
		}
		engine.SetTime(time.Now().Add(skew + 91*time.Second))
		if _, err := s.Counts(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), k.Public(), time.Now()); !errors.Is(err, core.NotFound) {
			t.Errorf("engine %v ahead, 91 s later: Get = %v, want core.NotFound", skew, err)
		}
	}
}

// While the engine is away every request gets 503 and a time to come back; nothing is
// acknowledged, the log says once what is wrong, and all is well when it is back.
func TestEngineAway(t *testing.T) {
	engine := double(t)
	s, log := open(t, "valkey://"+engine.Addr(), rendezvous.ServerOptions{})
	url := serve(t, rendezvous.ServerOptions{Store: s})
	k := keys.Generate()
	body := func() string {
		return string(sealed(k, envelope.Hints{Purpose: envelope.PurposeRegister, Port: 1}, time.Now()))
	}
	send := func(method, path, body string) (int, string, string) {
		request, err := http.NewRequest(method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(text), response.Header.Get("Retry-After")
	}
	if status, text, _ := send("POST", "/register", body()); status != 200 {
		t.Fatal(text)
	}
	engine.Close()
	for _, path := range []string{"POST /register", "POST /invite", "POST /invites/list", "GET /peer/" + k.Public().String(), "GET /invite/a3f7k2", "GET /", "GET /readyz"} {
		method, path, _ := strings.Cut(path, " ")
		text := body()
		if path != "/register" {
			purpose := map[string]string{"/invite": envelope.PurposeInvite, "/invites/list": envelope.PurposeList}[path]
			text = string(sealed(k, envelope.Hints{Purpose: purpose, Port: 1}, time.Now()))
		}
		status, answer, after := send(method, path, text)
		if status != 503 || !strings.Contains(answer, "cannot reach its store") || after != "5" {
			t.Errorf("%s: %d %s, Retry-After %q; want 503 and 5", path, status, answer, after)
		}
	}
	if status, text, _ := send("GET", "/healthz", ""); status != 200 {
		t.Errorf("healthz: %d %s, want 200: a restart would not help", status, text)
	}
	if err := engine.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready", 60*time.Second, func() bool { status, _, _ := send("GET", "/readyz", ""); return status == 200 })
	if status, text, _ := send("POST", "/register", body()); status != 200 {
		t.Error(text)
	}
	if text := log.String(); strings.Count(text, "the store is away") != 1 || strings.Count(text, "the store is back") != 1 {
		t.Errorf("the log says:\n%s", text)
	}
}

// A server starts while the engine is not there yet, and says so.
func TestEngineNotThereYet(t *testing.T) {
	engine := double(t)
	at := "valkey://" + engine.Addr()
	engine.Close()
	s, log := open(t, at, rendezvous.ServerOptions{})
	if _, err := s.Counts(t.Context(), time.Now()); !errors.Is(err, core.Unavailable) {
		t.Errorf("Counts = %v, want core.Unavailable", err)
	}
	if !strings.Contains(log.String(), "it does not answer") {
		t.Errorf("the log says:\n%s", log)
	}
	if err := engine.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is there", 60*time.Second, func() bool { _, err := s.Counts(t.Context(), time.Now()); return err == nil })
}

// An engine that hangs is one that is away.
func TestEngineHangs(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	began := time.Now()
	s, log := open(t, "valkey://"+ln.Addr().String(), rendezvous.ServerOptions{})
	if took := time.Since(began); took > 10*callTimeout {
		t.Errorf("Open took %v", took)
	}
	began = time.Now()
	if _, err := s.Get(t.Context(), keys.Generate().Public(), time.Now()); !errors.Is(err, core.Unavailable) || time.Since(began) > callTimeout {
		t.Errorf("Get = %v after %v, want core.Unavailable at once", err, time.Since(began))
	}
	if !strings.Contains(log.String(), "it does not answer") {
		t.Errorf("the log says:\n%s", log)
	}
}

// Self-preservation goes by what all servers have counted, and an engine that comes back
// empty is no outage of the gateways.
func TestCountsOverServers(t *testing.T) {
	engines(t, func(t *testing.T, at string) {
		a, _ := open(t, at, rendezvous.ServerOptions{})
		b, _ := open(t, at, rendezvous.ServerOptions{})
		k, now := keys.Generate(), time.Now()
		for i, s := range []*Store{a, b, a} {
			renewal, err := s.Put(t.Context(), registration(k, now.Add(time.Duration(i)*time.Millisecond)), now)
			if err != nil || renewal != (i > 0) {
				t.Fatalf("Put %d = %v, %v", i, renewal, err)
			}
		}
		if err := a.Hold(t.Context(), now.Add(5*time.Minute)); err != nil {
			t.Fatal(err)
		}
		c, err := b.Counts(t.Context(), now)
		if err != nil || c.Live != 1 || c.Brief != 1 || c.Renewed != 2 || c.HoldUntil.Sub(now).Round(time.Second) != 5*time.Minute {
			t.Errorf("Counts at the other = %+v, %v", c, err)
		}
	})
}
