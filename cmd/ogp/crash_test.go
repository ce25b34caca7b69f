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
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
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

// keyedBackend is a webhook's receiver that knows its keys and loses one answer of four.
type keyedBackend struct {
	mu     sync.Mutex // guards the rest
	bodies map[string]string
	events map[string]int // by id of the event: under how many keys it came
	wrong  []string
}

func (b *keyedBackend) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	key, sum := r.Header.Get("Idempotency-Key"), string(text)
	var event struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(text, &event) // what is no event has no id
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, known := b.bodies[key]; !known {
		b.bodies[key] = sum
		b.events[event.ID]++
	} else if old != sum {
		b.wrong = append(b.wrong, old+"\nand then\n"+sum)
	}
	if rand.N(4) == 0 {
		panic(http.ErrAbortHandler)
	}
}

// TestCrash kills the daemon at random points of both queues, with a peer and a backend
// that lose answers: nothing that was acknowledged is lost, the peer has nothing twice,
// every notice is told, and what is told again has its key and its bytes.
//
// docs/operating.md#notices
func TestCrash(t *testing.T) {
	kills := crashKills
	if n, err := strconv.Atoi(os.Getenv(crashKillsVariable)); err == nil {
		kills = n
	} else if testing.Short() {
		t.Skip("slow")
	}
	told := &keyedBackend{bodies: map[string]string{}, events: map[string]int{}}
	hook := httptest.NewServer(told)
	defer hook.Close()

	var peer *coretest.Gateway
	front := losesAnswers(t, func() string { _, port, _ := net.SplitHostPort(peerAddr(peer)); return "http://127.0.0.1:" + port })
	plenty := []core.Grant{{Intent: "message", Enabled: true, RateLimit: &core.RateLimit{Requests: 1_000_000, WindowSeconds: 3600}}}
	peer = coretest.New(t, coretest.WithSettings(func(s *gateway.Settings) {
		s.URL, s.Grants, s.OutboxMax = front.URL, plenty, 200*time.Millisecond
	}))

	dir, err := os.MkdirTemp("", "ogp-crash-") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	port := closedPort(t)[len("127.0.0.1:"):]
	text := fmt.Sprintf("[network]\nallow_private = [\"127.0.0.0/8\"]\n[outbox]\nfirst_retry = \"10ms\"\nmax_retry = \"200ms\"\n"+
		"[delivery]\nnotifiers = [\"webhook\"]\nfirst_retry = \"10ms\"\nmax_retry = \"200ms\"\n"+
		"[plugins.webhook.config]\nurl = %[1]q\n[plugins.webhook.grants]\nhttp = [%[1]q]\nprivate = true\n", hook.URL+"/events")
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
			time.Sleep(5 * time.Millisecond)
		}
	})
	for range kills {
		time.Sleep(time.Duration(20+rand.N(300)) * time.Millisecond)
		d.kill()
		d.start()
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	wg.Wait()

	deadline := time.Now().Add(2 * time.Minute)
	for {
		var s api.StatusView
		d.call("status", api.None{}, &s)
		waits, err := peer.Store.Depths(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Depths.Outbox == 0 && s.Depths.Deliveries == 0 && waits.Outbox == 0 {
			if s.Depths.DeadDeliveries > 0 {
				t.Errorf("%d notices were set aside", s.Depths.DeadDeliveries)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the queues do not empty: %d and %d wait with us, %d at the peer", s.Depths.Outbox, s.Depths.Deliveries, waits.Outbox)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d kills, %d messages sent, %d received, %d keys at the backend", kills, len(sent), len(got), len(told.bodies))

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
	told.mu.Lock()
	defer told.mu.Unlock()
	for _, m := range mine {
		if n := told.events[m.ID]; n != 1 {
			t.Errorf("message %s was told under %d keys, want 1", m.ID, n)
		}
	}
	if len(told.wrong) > 0 {
		t.Errorf("%d keys came with other bytes than at first, among them %s", len(told.wrong), told.wrong[0])
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
	d.cmd.Env = append(os.Environ(), "HOME="+d.dir)
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
