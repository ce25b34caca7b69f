package nodes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
)

// cluster is three nodes, their database, what is before them, and who writes to them.
type cluster struct {
	db     *database
	nodes  []*node
	front  *front
	hook   *webhook
	peers  []*coretest.Gateway
	fronts []*door // before the peers
	key    core.PublicKey
}

func newCluster(t *testing.T, program string) *cluster {
	c := &cluster{db: newDatabase(t), hook: newWebhook(t)}
	c.front = newFront(t)
	config := fmt.Sprintf(`store = %q
gateway_url = %q
[network]
allow_private = ["127.0.0.0/8"]
[outbox]
first_retry = "10ms"
max_retry = "1s"
[delivery]
notifiers = ["webhook"]
first_retry = "50ms"
max_retry = "1s"
[plugins.webhook.config]
url = %q
[plugins.webhook.grants]
http = [%[3]q]
private = true
[agent]
breaker_rate = 0
breaker_repeats = 0
[agent.budget]
messages = 0
bytes = 0
runs = 0
[log]
level = "info"
`, c.db.url, c.front.URL, c.hook.url)
	for i := range 3 {
		dir, err := os.MkdirTemp("", "ogp-node-") // short: it holds a socket
		if err != nil {
			t.Fatal(err)
		}
		home := dir
		dir = filepath.Join(home, ".ogp") // so that no command needs to name it, and notices are in the same words
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		n := &node{t: t, program: program, dir: dir, port: ports.Free(t), metrics: ports.Free(t), log: filepath.Join(home, "log")}
		t.Cleanup(func() {
			n.kill()
			if t.Failed() {
				if text, err := os.ReadFile(n.log); err == nil {
					t.Logf("node %d ended its log with\n%s", i, text[max(0, len(text)-6000):])
				}
			}
			os.RemoveAll(home)
		})
		if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			key, err := os.ReadFile(filepath.Join(c.nodes[0].dir, "key.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "key.json"), key, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n.start()
		c.nodes = append(c.nodes, n)
	}
	c.front.set(c.nodes)
	for _, n := range c.nodes {
		c.front.await(t, n)
	}
	var v api.StatusView
	if err := c.nodes[0].try(t.Context(), "status", api.None{}, &v); err != nil {
		t.Fatal(err)
	}
	c.key = v.PublicKey
	for range 2 {
		d := &door{}
		server := httptest.NewServer(d)
		t.Cleanup(server.Close)
		p := coretest.New(t, coretest.WithStore("sqlite"), coretest.WithSettings(func(s *ours.Settings) {
			s.URL, s.Grants, s.Outbox.Most = server.URL, grants, time.Second
		}))
		d.to.Store(fmt.Sprintf("http://127.0.0.1:%d", p.Settings().Port))
		c.peers, c.fronts = append(c.peers, p), append(c.fronts, d)
		c.federate(t, p)
	}
	return c
}

// federate makes a peer approved on both sides, with grants for both.
func (c *cluster) federate(t *testing.T, p *coretest.Gateway) {
	t.Helper()
	time.Sleep(2 * time.Millisecond)
	if _, err := p.RequestFederation(t.Context(), gateway.Ask{URL: c.front.URL, Expect: c.key, Again: true}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for { // the node that is asked may be another than the one that has the request
		err := c.nodes[0].try(t.Context(), "approve", api.ApproveParams{Peer: p.Key().String(), Grants: grants}, nil)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("approve: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	coretest.Await(t, "the peer is approved", func() bool { return p.TrustOfKey(c.key) == core.Approved })
	if _, err := p.ApprovePeer(t.Context(), c.key, gateway.Approval{Grants: grants}); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes { // every node knows it
		deadline := time.Now().Add(10 * time.Second)
		for c.post(t, p, core.IntentMessage, n.url()) != http.StatusOK {
			if time.Now().After(deadline) {
				t.Fatalf("the node at %s does not know the peer", n.url())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// any is a node that runs, perhaps.
func (c *cluster) any() *node { return c.nodes[rand.N(len(c.nodes))] }

var client = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// post signs a message of a peer to us and posts it to a gateway URL. It returns the status
// of the answer; 0: none.
func (c *cluster) post(t *testing.T, p *coretest.Gateway, intent, to string) int {
	t.Helper()
	body, err := (&envelope.Sealer{Key: p.Private}).SealMessage(c.key, core.Message{Intent: intent, From: p.Key().ID(), To: c.key.ID(),
		Nonce: envelope.NewNonce(), Payload: core.Raw(`{"text":"-1"}`)})
	if err != nil {
		t.Error(err)
		return 0
	}
	resp, err := client.Post(to+core.PathMessage, "application/json", bytes.NewReader(body))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// node is a gateway in a process of its own.
type node struct {
	t             *testing.T
	program, dir  string
	port, metrics int
	log           string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

func (n *node) url() string { return fmt.Sprintf("http://127.0.0.1:%d", n.port) }

func (n *node) start() {
	n.t.Helper()
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(n.program, "start", "--listen", "127.0.0.1", "--daemon-port", fmt.Sprint(n.port))
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(one string) bool { return strings.HasPrefix(one, "OGP_") }),
		"HOME="+filepath.Dir(n.dir), fmt.Sprintf("OGP_METRICS_LISTEN=127.0.0.1:%d", n.metrics))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	n.mu.Lock()
	n.cmd, n.done = cmd, done
	n.mu.Unlock()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var v api.StatusView
		if n.try(n.t.Context(), "status", nil, &v) == nil && v.PID == cmd.Process.Pid {
			return
		}
		select {
		case <-done: // the database may be away
			if time.Now().Before(deadline) {
				time.Sleep(200 * time.Millisecond)
				n.start()
				return
			}
		default:
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(n.log)
			n.t.Fatalf("a node did not start:\n%s", text[max(0, len(text)-3000):])
		}
	}
}

// kill ends the node as a power cut does.
func (n *node) kill() {
	n.mu.Lock()
	cmd, done := n.cmd, n.done
	n.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		<-done
	}
}

// end ends it as an upgrade does.
func (n *node) end(t *testing.T) {
	t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.done:
	case <-time.After(40 * time.Second):
		t.Fatal("a node does not end")
	}
}

func (n *node) try(ctx context.Context, method string, params, result any) error {
	return control.Dial(control.Path(n.dir)).Call(ctx, method, params, result)
}

// ready asks the node whether it takes work.
func (n *node) ready() bool {
	resp, err := (&http.Client{Timeout: time.Second}).Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", n.metrics))
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// front is a load balancer: each request goes to the next node that is ready, and to another
// where that gives no answer, as an envelope that comes twice counts once.
type front struct {
	URL  string
	next atomic.Uint64

	mu    sync.Mutex
	nodes []*node
	ready map[*node]bool
	pin   *node
}

func newFront(t *testing.T) *front {
	f := &front{ready: map[*node]bool{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

// set gives it the nodes, which it asks from now on.
func (f *front) set(nodes []*node) {
	f.mu.Lock()
	f.nodes = nodes
	f.mu.Unlock()
	for _, n := range nodes {
		go func() {
			for n.t.Context().Err() == nil {
				ready := n.ready()
				f.mu.Lock()
				f.ready[n] = ready
				f.mu.Unlock()
				time.Sleep(50 * time.Millisecond)
			}
		}()
	}
}

// only has all requests go to one node; nil: to all.
func (f *front) only(n *node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pin = n
}

func (f *front) await(t *testing.T, n *node) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		f.mu.Lock()
		ready := f.ready[n]
		f.mu.Unlock()
		if ready {
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(n.log)
			t.Fatalf("a node is not ready:\n%s", text[max(0, len(text)-3000):])
		}
	}
}

// choices are the nodes in the order in which a request tries them.
func (f *front) choices() []*node {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pin != nil {
		return []*node{f.pin}
	}
	first := int(f.next.Add(1))
	var out []*node
	for i := range f.nodes {
		if n := f.nodes[(first+i)%len(f.nodes)]; f.ready[n] {
			out = append(out, n)
		}
	}
	return out
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for _, n := range f.choices() {
		if forward(w, r, n.url(), body) {
			return
		}
	}
	w.WriteHeader(http.StatusBadGateway)
}

// forward gives a request to a gateway, and its answer back.
func forward(w http.ResponseWriter, r *http.Request, to string, body []byte) bool {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header = r.Header.Clone()
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return false
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer)
	return true
}

// door is before a peer, and can hang.
type door struct {
	to   atomic.Value // string
	hung atomic.Int64

	mu    sync.Mutex
	shut  chan struct{}
	came  map[string]bool // the bodies
	again int             // those that came again
}

// repeats is how many of what came had come before.
func (d *door) repeats() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.again
}

// hang has all that come wait until release, and says how many do.
func (d *door) hang() func() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = make(chan struct{})
	return d.hung.Load
}

// release lets those that come from now on through, and loses those that wait.
func (d *door) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.shut)
	d.shut = nil
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	d.mu.Lock()
	shut := d.shut
	if d.came == nil {
		d.came = map[string]bool{}
	}
	if r.Method == http.MethodPost && d.came[string(body)] {
		d.again++
	}
	d.came[string(body)] = true
	d.mu.Unlock()
	if shut != nil {
		d.hung.Add(1)
		select {
		case <-shut:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	if !forward(w, r, d.to.Load().(string), body) {
		panic(http.ErrAbortHandler)
	}
}

// webhook is a notifier's receiver that knows its keys.
type webhook struct {
	url string

	mu     sync.Mutex
	bodies map[string]string          // by key
	keys   map[string]map[string]bool // by event
	first  []string                   // events in the order in which they first came
	wrong  []string
	posts  int
}

func newWebhook(t *testing.T) *webhook {
	h := &webhook{bodies: map[string]string{}, keys: map[string]map[string]bool{}}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	h.url = server.URL + "/events"
	return h
}

func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	var event struct {
		ID string `json:"id"`
	}
	if err != nil || json.Unmarshal(text, &event) != nil {
		panic(http.ErrAbortHandler)
	}
	key := r.Header.Get("Idempotency-Key")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posts++
	if old, known := h.bodies[key]; known && old != string(text) || key == "" {
		h.wrong = append(h.wrong, old+"\nand then\n"+string(text))
	}
	h.bodies[key] = string(text)
	if h.keys[event.ID] == nil {
		h.keys[event.ID] = map[string]bool{}
		h.first = append(h.first, event.ID)
	}
	h.keys[event.ID][key] = true
}

// check says whether each message of a peer was told under one key, in their order, and no
// more than most notices again.
func (h *webhook) check(t *testing.T, messages []*core.InboxMessage, most int) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	place := map[string]int{}
	for i, id := range h.first {
		place[id] = i
	}
	untold, several, mixed, last := 0, 0, 0, -1
	for _, m := range messages {
		switch len(h.keys[m.ID]) {
		case 0:
			untold++
			continue
		case 1:
		default:
			several++
		}
		if at := place[m.ID]; at < last {
			mixed++
		} else {
			last = at
		}
	}
	t.Logf("webhook: %d posts of %d events", h.posts, len(h.first))
	if again := h.posts - len(h.first); again > most {
		t.Errorf("%d notices were told again, want at the most %d: what was under way at a kill", again, most)
	}
	if untold > 0 || several > 0 || mixed > 0 || len(h.wrong) > 0 {
		t.Errorf("of %d notices %d were not told, %d under several keys, %d out of order; keys that came with other bytes: %q; want none", len(messages), untold, several, mixed, h.wrong)
	}
}
