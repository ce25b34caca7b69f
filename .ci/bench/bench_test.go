// Package bench measures the gateway as a whole process: a load driver beside a real
// daemon, whose agent answers at once. .ci/bench-run builds the program and runs it;
// without a program it has nothing to do. docs/performance.md#the-whole-process
package bench

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
)

// slack is by how much the best ratio may exceed the committed one, which is that of the
// middle run: other work on the same machine costs caches, fewer messages share one fsync,
// and each switch between threads, of which a lone message has the most, costs far more.
const slack = 2.5

// load is one case: who is told, by how many senders at once, of how many peers.
type load struct {
	notifier       string
	senders, peers int
}

func (l load) String() string {
	return fmt.Sprintf("%s, senders %d, peers %d", l.notifier, l.senders, l.peers)
}

var loads = []load{
	{"log", 1, 1}, {"log", 32, 1}, {"log", 32, 1000},
	{"openclaw", 1, 1}, {"openclaw", 32, 1}, {"openclaw", 32, 1000},
	{"webhook", 1, 1}, {"webhook", 32, 1},
}

// TestBench prints CPU of the daemon per message, beside ed25519.Verify of the
// standard library in the same run, and fails where the best ratio has grown beyond
// slack times the one in ratios.json, which is the middle run's.
//
//	OGP_BENCH_MESSAGES  messages a run; 3000
//	OGP_BENCH_RUNS      runs of each case; 3
//	OGP_BENCH_ONLY      a part of a case's name
//	OGP_BENCH_WRITE     1: write ratios.json anew
func TestBench(t *testing.T) {
	program := os.Getenv("OGP_BENCH_OGP")
	if program == "" {
		t.Skip("OGP_BENCH_OGP names no program: .ci/bench-run builds it")
	}
	messages, runs := number("OGP_BENCH_MESSAGES", 3000), number("OGP_BENCH_RUNS", 3)
	committed := map[string]float64{}
	data, err := os.ReadFile("ratios.json")
	if err == nil {
		err = json.Unmarshal(data, &committed)
	}
	if err != nil {
		t.Fatal(err)
	}
	measured := maps.Clone(committed)
	for _, l := range loads {
		name := l.String()
		if !strings.Contains(name, os.Getenv("OGP_BENCH_ONLY")) {
			continue
		}
		var all []result
		for range runs {
			all = append(all, measure(t, program, l, messages))
		}
		slices.SortFunc(all, func(a, b result) int { return int(a.cpu/a.verify*1000) - int(b.cpu/b.verify*1000) })
		best, mid := all[0], all[len(all)/2]
		t.Logf("%-32s cpu %4.0f us (%4.0f)  verify %3.0f us  ratio %5.2f (%5.2f)  %5.0f/s  p50 %5.2f ms  p99 %5.1f ms  RSS %3d MiB", name,
			mid.cpu, best.cpu, mid.verify, mid.cpu/mid.verify, best.cpu/best.verify, mid.rate, mid.p50, mid.p99, mid.rss>>20)
		ratio := best.cpu / best.verify
		measured[name] = float64(int(mid.cpu/mid.verify*100)) / 100
		switch bound := committed[name]; {
		case os.Getenv("OGP_BENCH_WRITE") == "1":
		case bound == 0:
			t.Errorf("%s: ratios.json has no ratio", name)
		case ratio > bound*slack:
			t.Errorf("%s: %.2f times ed25519.Verify, want at most %.1f times the %.2f of ratios.json", name, ratio, slack, bound)
		}
	}
	if os.Getenv("OGP_BENCH_WRITE") == "1" {
		data, err := json.MarshalIndent(measured, "", "  ")
		if err == nil {
			err = os.WriteFile("ratios.json", append(data, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// result is what one run came to, for each message.
type result struct {
	cpu, verify float64 // us
	rate        float64 // messages a second, answered
	p50, p99    float64 // ms
	rss         int64
}

// measure runs one case on a gateway of its own.
func measure(t *testing.T, program string, l load, messages int) result {
	a := startAgent(t)
	g := start(t, program, l, a)
	bodies := make([][]byte, messages)
	warm := make([][]byte, messages/10+1)
	for i := range bodies {
		bodies[i] = g.message(t, i)
	}
	for i := range warm {
		warm[i] = g.message(t, messages+i)
	}
	g.send(t, l.senders, warm)
	a.await(t, l, len(warm))
	verify := costOfVerify(t)
	before, began := g.cpu(t), time.Now()
	times := g.send(t, l.senders, bodies)
	answered := time.Since(began)
	a.await(t, l, len(warm)+messages)
	time.Sleep(2 * core.LazyWait) // what was told is written down
	used := g.cpu(t) - before
	verify = (verify + costOfVerify(t)) / 2
	slices.Sort(times)
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	return result{cpu: float64(used.Microseconds()) / float64(messages), verify: verify, rate: float64(messages) / answered.Seconds(),
		p50: ms(times[len(times)/2]), p99: ms(times[len(times)*99/100]), rss: g.rss()}
}

// costOfVerify is the CPU that one ed25519.Verify of the standard library takes, in us.
func costOfVerify(t *testing.T) float64 {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("text"), 75)
	signature := ed25519.Sign(private, text)
	own := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	const times = 3000
	start := own()
	for range times {
		if !ed25519.Verify(public, text, signature) {
			t.Fatal("no")
		}
	}
	return float64(own()-start) / times / 1000
}

// agent is what is told: it answers at once.
type agent struct {
	server *httptest.Server
	told   atomic.Int64
}

func startAgent(t *testing.T) *agent {
	a := &agent{}
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.told.Add(int64(bytes.Count(body, []byte("How are things"))))
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"ok":true,"runId":"1"}`)
	}))
	t.Cleanup(a.server.Close)
	return a
}

// await waits until n messages were told, each at least once.
func (a *agent) await(t *testing.T, l load, n int) {
	if l.notifier == "log" {
		return
	}
	for deadline := time.Now().Add(2 * time.Minute); a.told.Load() < int64(n); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d of %d messages were told", l, a.told.Load(), n)
		}
	}
}

// gateway is a daemon under test, or several that are one gateway.
type gateway struct {
	pids      []int
	log       string // of the last
	addresses []string
	self      core.PublicKey
	peers     []*envelope.Sealer
	client    *http.Client
}

func newGateway(connections int) *gateway {
	return &gateway{client: &http.Client{Transport: &http.Transport{MaxIdleConns: 3 * connections, MaxIdleConnsPerHost: connections}}}
}

func start(t *testing.T, program string, l load, a *agent) *gateway {
	home, g := newHome(t), newGateway(64)
	if _, err := keys.Create(filepath.Join(home, "key.json"), nil); err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	g.makePeers(t, store, l.peers)
	config := fmt.Sprintf("openclaw_url = %[1]q\nopenclaw_hooks_token = \"token\"\n[delivery]\nnotifiers = [%[2]q]\n", a.server.URL, l.notifier)
	if l.notifier == "webhook" {
		config += fmt.Sprintf("[plugins.webhook.config]\nurl = %q\n[plugins.webhook.grants]\nhttp = [%[1]q]\nprivate = true\n", a.server.URL)
	}
	g.launch(t, program, home, config)
	return g
}

func newHome(t *testing.T) string {
	home := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	return home
}

// launch starts one more daemon of the gateway, and returns when it answers.
func (g *gateway) launch(t *testing.T, program, home, config string) {
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(ports.Free(t))
	address := "http://127.0.0.1:" + port
	g.log = filepath.Join(home, "out")
	out, err := os.Create(g.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "start", "--home", home)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(one string) bool { return strings.HasPrefix(one, "OGP_") }),
		"HOME="+home, "OGP_DAEMON_PORT="+port, "OGP_LISTEN=127.0.0.1", "OGP_HEALTH_INTERVAL=24h", "OGP_NETWORK_ALLOW_PRIVATE=127.0.0.0/8",
		// A flood is what it measures, and the brake would hold it.
		"OGP_AGENT_BREAKER_RATE=0", "OGP_AGENT_BREAKER_REPEATS=0", "OGP_AGENT_BUDGET_MESSAGES=0", "OGP_AGENT_BUDGET_BYTES=0", "OGP_AGENT_BUDGET_RUNS=0")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		g.client.CloseIdleConnections()
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
		}
	})
	var card struct {
		PublicKey core.PublicKey `json:"publicKey"`
	}
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := g.client.Get(address + core.PathCard)
		if err == nil {
			err = json.NewDecoder(resp.Body).Decode(&card)
			resp.Body.Close()
		}
		if err == nil && !card.PublicKey.IsZero() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the gateway does not start: %v\n%s", err, g.tail())
		}
	}
	g.pids, g.addresses, g.self = append(g.pids, cmd.Process.Pid), append(g.addresses, address), card.PublicKey
}

// makePeers puts approved peers into a store, of which the first 64 send, and closes it.
func (g *gateway) makePeers(t *testing.T, store core.Store, n int) {
	defer store.Close()
	change := &core.Change{}
	at := time.Now().Add(-time.Hour).UTC()
	for i := range n {
		k := keys.Generate()
		if i < 64 {
			g.peers = append(g.peers, &envelope.Sealer{Key: k})
		}
		grant := core.Grant{Intent: core.IntentMessage, Enabled: true, RateLimit: &core.RateLimit{Requests: 1_000_000, WindowSeconds: 60},
			ByteLimit: &core.ByteLimit{Bytes: 1 << 40, WindowSeconds: 60}}
		change.Peers = append(change.Peers, &core.Peer{Key: k.Public(), URL: "http://127.0.0.1:9", Trust: core.Approved, Since: at, RequestedAt: at,
			ApprovedAt: at, Names: core.Names{DisplayName: "Peer"}, V2: true, Revision: 1,
			Granted: &core.Bundle{Version: core.BundleVersion, GrantedAt: core.FormatTime(at), Scopes: []core.Grant{grant}}})
	}
	if err := store.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
}

func (g *gateway) message(t *testing.T, i int) []byte {
	by := g.peers[i%len(g.peers)]
	body, err := by.SealMessage(g.self, core.Message{Intent: core.IntentMessage, From: by.Key.Public().String(), To: g.self.String(),
		Nonce: core.Nonce(fmt.Sprintf("bench-%d", i)), Timestamp: core.FormatTime(time.Now()),
		Payload: core.Raw(`{"text":"Hello from the other side. How are things over there today?"}`)})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// send posts all bodies from several senders at once, to each daemon in turn, and gives how
// long each took.
func (g *gateway) send(t *testing.T, senders int, bodies [][]byte) []time.Duration {
	times := make([]time.Duration, len(bodies))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(bodies); i = int(next.Add(1)) - 1 {
				began := time.Now()
				resp, err := g.client.Post(g.addresses[i%len(g.addresses)]+core.PathMessage, "application/json", bytes.NewReader(bodies[i]))
				if err != nil {
					t.Error(err)
					return
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				times[i] = time.Since(began)
				if resp.StatusCode != http.StatusOK {
					t.Errorf("%d %s", resp.StatusCode, text)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.Fatal(g.tail())
	}
	return times
}

// cpu is what the daemons have used, user and system, in steps of 10 ms.
func (g *gateway) cpu(t *testing.T) (all time.Duration) {
	for _, pid := range g.pids {
		own, _, _ := cpuOf(t, pid)
		all += own
	}
	return all
}

// cpuOf is what a process has used, user and system, in steps of 10 ms, what its children had
// used that have ended, and its parent.
func cpuOf(t *testing.T, pid int) (own, children time.Duration, parent int) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // proc(5): the 3rd on
	ticks := func(of ...string) (sum time.Duration) {
		for _, field := range of {
			n, _ := strconv.Atoi(field)
			sum += time.Duration(n) * 10 * time.Millisecond
		}
		return sum
	}
	parent, _ = strconv.Atoi(fields[1])
	return ticks(fields[11:13]...), ticks(fields[13:15]...), parent
}

// rss is what the daemons have in memory.
func (g *gateway) rss() (all int64) {
	for _, pid := range g.pids {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		fields := append(strings.Fields(string(data)), "", "")
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		all += pages * int64(os.Getpagesize())
	}
	return all
}

func (g *gateway) tail() string {
	data, _ := os.ReadFile(g.log)
	return string(data[max(0, len(data)-2000):])
}
