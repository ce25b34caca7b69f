package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// crashKills is how often TestCrash kills the daemon; the variable asks for more.
const (
	crashKillsVariable = "OGP_CRASH_KILLS"
	crashKills         = 5
)

// losesAnswers forwards to a gateway, and loses one answer of four, after the gateway
// has given it.
func losesAnswers(t *testing.T, to func() string) *httptest.Server {
	client := &http.Client{Timeout: 10 * time.Second}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), r.Method, to()+r.URL.RequestURI(), r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		req.Header = r.Header.Clone()
		resp, err := client.Do(req)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || rand.N(4) == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(resp.StatusCode)
		w.Write(body)
	}))
	t.Cleanup(server.Close)
	return server
}

// keyedBackend is a notifier's receiver that knows its keys and loses one answer of four,
// and as often has no time.
type keyedBackend struct {
	ids    func(body string) []string // of the events that a post tells of
	answer string

	mu     sync.Mutex                 // guards the rest
	bodies map[string]string          // by key
	keys   map[string]map[string]bool // by event: under which keys it came
	posts  int
	groups int // keys of several events
	wrong  []string
}

func newBackend(t *testing.T, answer string, ids func(string) []string) (*keyedBackend, string) {
	b := &keyedBackend{ids: ids, answer: answer, bodies: map[string]string{}, keys: map[string]map[string]bool{}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return b, server.URL
}

func (b *keyedBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if rand.N(8) == 0 { // and has not taken it
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	key, body := r.Header.Get("Idempotency-Key"), string(text)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.posts++
	old, known := b.bodies[key]
	if b.bodies[key] = body; known && key != "" && old != body {
		b.wrong = append(b.wrong, old+"\nand then\n"+body)
	}
	ids := b.ids(body)
	if !known && len(ids) > 1 {
		b.groups++
	}
	for _, id := range ids {
		if b.keys[id] == nil {
			b.keys[id] = map[string]bool{}
		}
		b.keys[id][key] = true
	}
	if rand.N(4) == 0 {
		panic(http.ErrAbortHandler)
	}
	io.WriteString(w, b.answer)
}

// heardOnce checks that each event was told, under one key and always in the same bytes.
func (b *keyedBackend) heardOnce(t *testing.T, who string, events []string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	untold, twice := 0, 0
	for _, id := range events {
		switch n := len(b.keys[id]); {
		case n == 0:
			untold++
		case n > 1:
			twice++
		}
	}
	if untold > 0 || twice > 0 {
		t.Errorf("%s: of %d events %d were not told and %d under several keys, want 0 and 0", who, len(events), untold, twice)
	}
	if len(b.wrong) > 0 {
		t.Errorf("%s: %d keys came with other bytes than at first, among them %s", who, len(b.wrong), b.wrong[0])
	}
	t.Logf("%s: %d posts, %d keys, %d of them of several events", who, b.posts, len(b.bodies), b.groups)
}

var marks = regexp.MustCompile(`<<<PEER MESSAGE ([0-9A-Z]+)>>>`)

// backends are the receivers of the daemon's three notifiers: one event a call, several in
// one, and one that knows no keys.
func backends(t *testing.T) (webhook, openclaw, ntfy *keyedBackend, config string) {
	webhook, hookURL := newBackend(t, "", func(body string) []string {
		var event struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(body), &event); err != nil {
			t.Errorf("the webhook got %q", body)
		}
		return []string{event.ID}
	})
	openclaw, clawURL := newBackend(t, `{"ok":true,"runId":"1"}`, func(body string) (ids []string) {
		var run struct {
			Message string `json:"message"`
		}
		if err := json.Unmarshal([]byte(body), &run); err != nil {
			t.Errorf("OpenClaw got %q", body)
		}
		for _, m := range marks.FindAllStringSubmatch(run.Message, -1) {
			ids = append(ids, m[1])
		}
		return ids
	})
	ntfy, ntfyURL := newBackend(t, `{"id":"sPs71M8A2T","event":"message"}`, func(body string) (ids []string) {
		for _, m := range marks.FindAllStringSubmatch(body, -1) {
			ids = append(ids, m[1])
		}
		return ids
	})
	return webhook, openclaw, ntfy, fmt.Sprintf(`openclaw_url = %[2]q
openclaw_hooks_token = "crash-token-of-openclaw"
[delivery]
notifiers = ["webhook", "openclaw", "ntfy"]
first_retry = "10ms"
max_retry = "200ms"
[plugins.webhook.config]
url = %[1]q
[plugins.webhook.grants]
http = [%[1]q]
private = true
[plugins.ntfy.config]
url = %[3]q
topic = "crash"
include_text = true
[plugins.ntfy.grants]
http = [%[3]q]
private = true
[agent]
breaker_rate = 0
breaker_repeats = 0
[agent.budget]
messages = 0
bytes = 0
runs = 0
`, hookURL+"/events", clawURL, ntfyURL)
}

// TestCrash kills the daemon at random points of both queues, with a peer and three
// notifiers' backends that lose answers, while its peer is renamed: nothing that was
// acknowledged is lost, the peer has nothing twice, every notice is told to each notifier,
// and what is told again has its key, its group and its bytes.
//
// docs/operating.md#notices
func TestCrash(t *testing.T) { crash(t, "", func() {}) }

// TestCrashPostgres is TestCrash with the state in a database. What takes over after a
// kill has the lease at once, as if the time of the dead one's had passed.
//
// docs/scaling.md#what-runs-where
func TestCrashPostgres(t *testing.T) {
	at := storetest.Postgres(t)
	conn, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	crash(t, fmt.Sprintf("store = %q\n", at), func() {
		if _, err := conn.Exec(context.Background(), "UPDATE leases SET until = now() - interval '1 second'"); err != nil {
			t.Error(err)
		}
	})
}

// crash is TestCrash with settings of the daemon's; after is called after each kill.
func crash(t *testing.T, settings string, after func()) {
	kills := crashKills
	if n, err := strconv.Atoi(os.Getenv(crashKillsVariable)); err == nil {
		kills = n
	} else if testing.Short() {
		t.Skip("slow")
	}
	webhook, claw, ntfy, notifiers := backends(t)

	var peer *coretest.Gateway
	front := losesAnswers(t, func() string { _, port, _ := net.SplitHostPort(peerAddr(peer)); return "http://127.0.0.1:" + port })
	plenty := []core.Grant{{Intent: "message", Enabled: true, RateLimit: &core.RateLimit{Requests: 1_000_000, WindowSeconds: 3600}}}
	peer = coretest.New(t, coretest.WithSettings(func(s *ours.Settings) {
		s.URL, s.Grants, s.Outbox.Most = front.URL, plenty, 200*time.Millisecond
	}))

	dir, err := os.MkdirTemp("", "ogp-crash-") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	port := strconv.Itoa(ports.Free(t))
	text := settings + notifiers + "[network]\nallow_private = [\"127.0.0.0/8\"]\n[outbox]\nfirst_retry = \"10ms\"\nmax_retry = \"200ms\"\n"
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &killed{t: t, dir: dir, port: port}
	self := d.start()
	if _, err := peer.RequestFederation(t.Context(), gateway.Ask{URL: self.GatewayURL, Expect: self.PublicKey, Again: true}); err != nil {
		t.Fatal(err)
	}
	var out api.OutgoingView
	d.call("approve", api.ApproveParams{Peer: peer.Key().String(), Grants: plenty}, &out)
	coretest.Await(t, "the two are federated", func() bool { return peer.TrustOfKey(self.PublicKey) == core.Approved })
	if _, err := peer.ApprovePeer(t.Context(), self.PublicKey, gateway.Approval{Grants: plenty}); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the two
	sent, got := map[int]bool{}, map[int]bool{}
	text2 := func(n int) core.Raw { return core.Raw(fmt.Sprintf(`{"text":"%d"}`, n)) }
	client := control.Dial(control.Path(dir))
	wg.Go(func() { // ours to the peer
		for n := 0; ctx.Err() == nil; n++ {
			var v api.OutgoingView
			if client.Call(ctx, "send", api.SendParams{Peer: peer.Key().String(), Intent: "message", Payload: text2(n)}, &v) == nil {
				mu.Lock()
				sent[n] = true
				mu.Unlock()
			} else {
				time.Sleep(20 * time.Millisecond)
			}
		}
	})
	wg.Go(func() { // the peer's to us
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := peer.Send(ctx, self.PublicKey, gateway.Sending{Intent: "message", Payload: text2(n)}); err == nil {
				mu.Lock()
				got[n] = true
				mu.Unlock()
			}
			time.Sleep(15 * time.Millisecond)
		}
	})
	wg.Go(func() { // our name for the peer
		for n := 0; ctx.Err() == nil; n++ {
			_ = client.Call(ctx, "alias", api.AliasParams{Peer: peer.Key().String(), Alias: fmt.Sprintf("name-%d", n)}, nil) // when we are alive
			time.Sleep(50 * time.Millisecond)
		}
	})
	for n := range kills {
		life := 20 + rand.N(300)
		if n%4 == 0 { // long enough for plugins to be loaded on a busy machine
			life = 500 + rand.N(1500)
		}
		time.Sleep(time.Duration(life) * time.Millisecond)
		d.kill()
		after()
		d.start()
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	wg.Wait()

	least, deadline := 1<<30, time.Now().Add(2*time.Minute)
	for {
		var s api.StatusView
		d.call("status", api.None{}, &s)
		waits, err := peer.Store.Depths(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if s.Depths.Outbox == 0 && s.Depths.Deliveries == 0 && waits.Outbox == 0 {
			if s.Depths.DeadDeliveries > 0 {
				t.Errorf("%d notices were set aside", s.Depths.DeadDeliveries)
			}
			break
		}
		if all := s.Depths.Outbox + s.Depths.Deliveries + waits.Outbox; all < least {
			least, deadline = all, time.Now().Add(2*time.Minute)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the queues do not empty: %d and %d wait with us, %d at the peer", s.Depths.Outbox, s.Depths.Deliveries, waits.Outbox)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d kills, %d messages sent, %d received", kills, len(sent), len(got))

	list, err := peer.Store.Inbox(t.Context(), core.InboxFilter{Limit: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	once(t, "the peer", sent, texts(t, list))
	var views []api.InboxView
	d.call("inbox", api.InboxParams{Limit: 1_000_000}, &views)
	mine := make([]*core.InboxMessage, len(views))
	for i := range views {
		mine[i] = &views[i].InboxMessage
	}
	once(t, "we", got, texts(t, mine))
	events := make([]string, len(mine))
	for i, m := range mine {
		events[i] = m.ID
	}
	webhook.heardOnce(t, "webhook", events)
	claw.heardOnce(t, "openclaw", events)
	if claw.groups == 0 {
		t.Error("OpenClaw was never told several events at once: it shows nothing of groups")
	}
	ntfy.mu.Lock()
	defer ntfy.mu.Unlock()
	untold := 0
	for _, id := range events { // it knows no keys, and may hear twice
		if len(ntfy.keys[id]) == 0 {
			untold++
		}
	}
	if untold > 0 {
		t.Errorf("ntfy was not told of %d of %d events", untold, len(events))
	}
	if len(sent) < kills || len(got) < kills {
		t.Errorf("%d messages sent and %d received in %d lives: too few to show anything", len(sent), len(got), kills+1)
	}
	d.kill()
}

// peerAddr is where a gateway listens, whatever URL it tells.
func peerAddr(g *coretest.Gateway) string {
	u, err := url.Parse(g.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// texts counts what messages say, a number each.
func texts(t *testing.T, list []*core.InboxMessage) map[int]int {
	t.Helper()
	out := map[int]int{}
	for _, m := range list {
		var p struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal(m.Message.Payload, &p); err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(p.Text)
		if err != nil {
			t.Fatal(err)
		}
		out[n]++
	}
	return out
}

// once checks that what was acknowledged is there, and nothing twice.
func once(t *testing.T, who string, acknowledged map[int]bool, have map[int]int) {
	t.Helper()
	lost, twice := 0, 0
	for n := range acknowledged {
		if have[n] == 0 {
			lost++
		}
	}
	for _, n := range have {
		if n > 1 {
			twice++
		}
	}
	if lost > 0 || twice > 0 {
		t.Errorf("%s: of %d acknowledged messages %d are lost and %d are there twice, want 0 and 0", who, len(acknowledged), lost, twice)
	}
}

// killed is a daemon in a process of its own that is killed again and again.
type killed struct {
	t         *testing.T
	dir, port string
	cmd       *exec.Cmd
	done      chan struct{} // closed when it has ended
	refused   int           // starts that found the state still held
}

func (d *killed) start() api.StatusView {
	d.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(d.t.TempDir(), "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command(exe)
	d.cmd.Args = []string{"ogp", "start", "--home", d.dir, "--listen", "127.0.0.1", "--daemon-port", d.port}
	d.cmd.Env = append(os.Environ(), "HOME="+d.dir, // and no brake, which would hold what comes so fast
		"OGP_AGENT_BREAKER_RATE=0", "OGP_AGENT_BREAKER_REPEATS=0", "OGP_AGENT_BUDGET_MESSAGES=0", "OGP_AGENT_BUDGET_BYTES=0", "OGP_AGENT_BUDGET_RUNS=0")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	done, cmd := make(chan struct{}), d.cmd
	d.done = done
	go func() { _ = cmd.Wait(); close(done) }()
	pid := d.cmd.Process.Pid
	client := control.Dial(control.Path(d.dir))
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var v api.StatusView
		if client.Call(d.t.Context(), "status", nil, &v) == nil && v.PID == pid {
			return v
		}
		select {
		case <-done: // a child that was just being made may hold the state for a moment longer
			if d.refused++; d.refused < 20 {
				time.Sleep(100 * time.Millisecond)
				return d.start()
			}
		default:
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			d.t.Fatalf("the daemon did not start:\n%s", text)
		}
	}
}

func (d *killed) kill() {
	_ = d.cmd.Process.Kill() // it may have ended by itself, which the checks would show
	<-d.done
}

func (d *killed) call(method string, params, result any) {
	d.t.Helper()
	if err := control.Dial(control.Path(d.dir)).Call(d.t.Context(), method, params, result); err != nil {
		d.t.Fatalf("%s: %v", method, err)
	}
}
