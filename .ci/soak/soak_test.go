// Package soak runs honest load beside attacks on a real gateway. .ci/soak-run
// builds the program and runs it; without a program it has nothing to do.
package soak

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

const (
	files    = 1024      // the limit on open files of what is attacked
	maxRSS   = 256 << 20 // of the gateway, under each attack
	slowdown = 3         // honest p99 beside an attack, against that in calm
	// p99Floor is what p99 may take in any case, in ms. A message waits for one sync to
	// disk, which takes 1 to 30 ms on disks that are shared, and one that comes during it
	// waits for two; attacker, gateway and honest peer share the cores. Three times a calm
	// of 8 ms would be less than that noise.
	p99Floor    = 100
	honestEvery = 25 * time.Millisecond
)

// attack is one way to end or drown a gateway. It goes on until ctx is done.
type attack struct {
	name    string
	run     func(ctx context.Context, s *soak)
	crowded bool // the friend is at the attacker's address
	files   int  // descriptors of the gateway; 0: few
}

var attacks = []attack{
	{"idle", func(ctx context.Context, s *soak) { s.hold(ctx, s.gateway.far, 1100, "") }, false, 0},
	{"idle at loopback", func(ctx context.Context, s *soak) { s.hold(ctx, s.gateway.near, 1100, "") }, false, 0},
	{"idle at the rendezvous", func(ctx context.Context, s *soak) { s.hold(ctx, s.rendezvous.near, 1100, "") }, false, 0},
	{"idle at the agent's socket", func(ctx context.Context, s *soak) { s.hold(ctx, control.AgentPath(s.home), 1100, "") }, false, 0},
	{"bad envelopes in a friend's name", func(ctx context.Context, s *soak) { s.flooded(ctx, s.forged) }, true, 0},
	{"bad envelopes behind a tunnel", func(ctx context.Context, s *soak) { s.tunnel(ctx) }, false, 0},
	{"garbage", func(ctx context.Context, s *soak) { s.flooded(ctx, s.garbage) }, false, 0},
	{"requests and removals", func(ctx context.Context, s *soak) { s.flooded(ctx, s.requestAndRemoval) }, false, 0},
	{"a flood by an approved peer", func(ctx context.Context, s *soak) { s.flooded(ctx, s.flood) }, false, 0},
	{"hostile manifests", func(ctx context.Context, s *soak) { s.manifests(ctx) }, false, 0},
	{"modules that are much to compile", func(ctx context.Context, s *soak) { s.compiles(ctx) }, false, 0},
	{"a guest that never ends", func(ctx context.Context, s *soak) { s.guests(ctx) }, false, 0},
	{"guessed polls and cards", func(ctx context.Context, s *soak) { s.flooded(ctx, s.polls) }, false, 0},
	{"strangers who fill the list", func(ctx context.Context, s *soak) { s.crowd(ctx) }, false, 0},
	{"wrong codes from many addresses", func(ctx context.Context, s *soak) { s.codes(ctx) }, false, 0},
	{"folded headers", func(ctx context.Context, s *soak) { s.flooded(ctx, s.folded) }, false, 0},
	{"slow bodies", func(ctx context.Context, s *soak) { s.slow(ctx) }, false, slowFiles}, // last, as its memory is looked at after it
}

// TestSoak is the soak.
func TestSoak(t *testing.T) {
	program := os.Getenv("OGP_SOAK_OGP")
	if program == "" {
		t.Skip("OGP_SOAK_OGP names no program: .ci/soak-run builds it")
	}
	seconds, err := strconv.Atoi(os.Getenv("OGP_SOAK_SECONDS"))
	if err != nil || seconds < 10 {
		seconds = 180
	}
	chosen := attacks
	if only := os.Getenv("OGP_SOAK_ONLY"); only != "" {
		chosen = slices.DeleteFunc(slices.Clone(attacks), func(a attack) bool { return a.name != only })
	}
	s := begin(t, program)
	each := (time.Duration(seconds)*time.Second - giveBack/2) / time.Duration(len(chosen)+2)

	calm := s.honest(each, s.gateway.near, nil)
	calm.log(t, "calm")
	if calm.acknowledged == 0 {
		t.Fatalf("nothing is acknowledged in calm: %s", calm.last)
	}
	slowest := map[string]int64{}
	for _, a := range chosen {
		slowest[a.name] = s.beside(a, each).p99
	}
	// Calm once more, as what else this machine does changes what calm is.
	after := s.honest(each, s.gateway.near, nil)
	after.log(t, "calm again")
	s.isGivenBack()
	for _, a := range chosen {
		s.isQuick(a, each, slowest[a.name], max(calm.p99, after.p99))
	}
	s.nothingIsLost()
}

// beside runs honest load beside an attack, which must neither end nor drown anything.
func (s *soak) beside(a attack, d time.Duration) outcome {
	t := s.t
	if want := cmp.Or(a.files, files); want != s.gateway.files {
		s.again(want, os.Interrupt)
	}
	to := s.gateway.near
	if a.crowded {
		to = s.gateway.far
	}
	got := s.honest(d, to, func(ctx context.Context) { a.run(ctx, s) })
	attempts := s.attempts.Swap(0)
	got.log(t, fmt.Sprintf("%s, %d attempts", a.name, attempts))
	if attempts == 0 {
		t.Errorf("%s: nothing of the attack came through: it shows nothing", a.name)
	}
	if refused := got.sent - got.acknowledged; refused > got.sent/100 {
		t.Errorf("%s: %d of %d honest messages were not acknowledged: %s", a.name, refused, got.sent, got.last)
	}
	if got.rss > maxRSS {
		t.Errorf("%s: RSS %d MiB, want at most %d", a.name, got.rss>>20, maxRSS>>20)
	}
	for _, p := range []*process{s.gateway, s.rendezvous} {
		if p.ended() {
			t.Fatalf("%s: %s has ended:\n%s", a.name, p.name, p.tail())
		}
	}
	return got
}

// isQuick compares honest answers beside an attack with those in calm. What is too slow
// is measured twice more, each with a calm of its own, as other work on this machine
// comes and goes: what the attack itself makes slow is slow each time.
func (s *soak) isQuick(a attack, d time.Duration, p99, calm int64) {
	for try := 1; p99 > max(slowdown*calm, p99Floor); try++ {
		say := s.t.Logf
		if try == 3 {
			say = s.t.Errorf
		}
		say("%s: honest p99 %d ms, want at most %d", a.name, p99, max(slowdown*calm, p99Floor))
		if try == 3 {
			return
		}
		calm = s.honest(d, s.gateway.near, nil).p99
		p99 = s.beside(a, d).p99
	}
}

type soak struct {
	t          *testing.T
	program    string
	gateway    *process
	rendezvous *process
	home       string         // its state directory
	self       core.PublicKey // of the gateway
	friend     *envelope.Sealer
	loud       *envelope.Sealer // an approved peer that floods
	stranger   *envelope.Sealer
	client     *http.Client

	n        atomic.Int64 // for nonces
	attempts atomic.Int64
	mu       sync.Mutex      // guards kept
	kept     map[string]bool // what was acknowledged to the friend

	before    int64     // RSS before the slow bodies
	slowEnded time.Time // zero: there were none
}

type process struct {
	name      string
	cmd       *exec.Cmd
	log       string // a file
	files     int    // its limit on open files
	done      chan struct{}
	near, far string // addresses: loopback, and another of this machine where there is one
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	return string(b[max(0, len(b)-2000):])
}

func (p *process) rss() int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// outside is an address of this machine that is not loopback; loopback where there
// is none.
func outside() string {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}

// start runs the program with so many descriptors until the test ends.
func (s *soak) start(name, port string, files int, env []string, args ...string) *process {
	s.t.Helper()
	p := &process{name: name, log: filepath.Join(s.t.TempDir(), name+".log"), files: files, done: make(chan struct{}),
		near: "127.0.0.1:" + port, far: net.JoinHostPort(outside(), port)}
	out, err := os.Create(p.log)
	if err != nil {
		s.t.Fatal(err)
	}
	p.cmd = exec.Command("bash", append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, files), "-", s.program}, args...)...)
	own := slices.DeleteFunc(os.Environ(), func(one string) bool { return strings.HasPrefix(one, "OGP_") })
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(own, env...), out, out
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	out.Close()
	go func() { p.cmd.Wait(); close(p.done) }()
	s.t.Cleanup(func() {
		p.cmd.Process.Signal(os.Interrupt)
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			p.cmd.Process.Kill()
		}
	})
	for deadline := time.Now().Add(60 * time.Second); ; {
		c, err := net.Dial("tcp", p.near)
		if err == nil {
			c.Close()
			return p
		}
		if p.ended() || time.Now().After(deadline) {
			s.t.Fatalf("%s does not start: %v\n%s", name, err, p.tail())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// cli runs a command on the gateway's state.
func (s *soak) cli(home string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.program, append(args, "--home", home)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(one string) bool { return strings.HasPrefix(one, "OGP_") })
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("ogp %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// begin starts a gateway and a rendezvous, and makes two approved peers.
func begin(t *testing.T, program string) *soak {
	s := &soak{t: t, program: program, kept: map[string]bool{}, friend: &envelope.Sealer{Key: keys.Generate()},
		loud: &envelope.Sealer{Key: keys.Generate()}, stranger: &envelope.Sealer{Key: keys.Generate()},
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	rport := strconv.Itoa(ports.Free(t))
	s.rendezvous = s.start("rendezvous", rport, files, nil, "rendezvous", "--listen", ":"+rport, "--home", filepath.Join(t.TempDir(), "rendezvous"),
		"--trusted-proxies", "127.0.0.1/32")
	s.home = filepath.Join(t.TempDir(), "gateway")
	home := s.home
	s.gateway = s.open(strconv.Itoa(ports.Free(t)), files)
	var who struct {
		PublicKey core.PublicKey `json:"publicKey"`
	}
	if err := json.Unmarshal([]byte(s.cli(home, "whoami", "--json")), &who); err != nil {
		t.Fatal(err)
	}
	s.self = who.PublicKey
	for i, peer := range []*envelope.Sealer{s.friend, s.loud} {
		status, answer := s.post(s.gateway.near, core.PathRequest, s.request(peer))
		if status != http.StatusOK {
			t.Fatalf("request: %d %s", status, answer)
		}
		rate := []string{"1000000/60", "5/60"}[i]
		s.cli(home, "federation", "approve", peer.Key.Public().String(), "--alias", []string{"friend", "loud"}[i], "--intents", "message", "--rate", rate)
	}
	t.Cleanup(func() { s.client.CloseIdleConnections() })
	return s
}

// open starts the gateway.
func (s *soak) open(port string, files int) *process {
	return s.start("gateway", port, files, []string{"OGP_DAEMON_PORT=" + port, "OGP_LISTEN=0.0.0.0", "OGP_LOG_LEVEL=warn",
		"OGP_GATEWAY_URL=http://127.0.0.1:" + port, "OGP_RENDEZVOUS_ENABLED=true", "OGP_RENDEZVOUS_URL=http://" + s.rendezvous.near,
		"OGP_NETWORK_ALLOW_PRIVATE=127.0.0.0/8", "OGP_HEALTH_INTERVAL=24h",
		// The honest load is a flood, too, and the brake would hold it.
		"OGP_AGENT_BREAKER_RATE=0", "OGP_AGENT_BREAKER_REPEATS=0", "OGP_AGENT_BUDGET_MESSAGES=0", "OGP_AGENT_BUDGET_BYTES=0", "OGP_AGENT_BUDGET_RUNS=0"}, "start", "--home", s.home)
}

// again ends the gateway and starts it anew at the same port.
func (s *soak) again(files int, by os.Signal) {
	s.gateway.cmd.Process.Signal(by)
	select {
	case <-s.gateway.done:
	case <-time.After(time.Minute):
		s.t.Fatalf("the gateway does not end:\n%s", s.gateway.tail())
	}
	_, port, _ := net.SplitHostPort(s.gateway.near)
	s.gateway = s.open(port, files)
}

func (s *soak) request(by *envelope.Sealer) []byte {
	return must(by.SealRequest(s.self, s.introduction(by)))
}

func (s *soak) introduction(by *envelope.Sealer) core.Request {
	k := by.Key.Public()
	return core.Request{Peer: core.PeerCard{ID: k.ID(), DisplayName: "soak", Email: "soak@example.org",
		GatewayURL: "http://127.0.0.1:9", PublicKey: k.String()}, Timestamp: core.FormatTime(time.Now())}
}

func (s *soak) message(by, as *envelope.Sealer, nonce, text string) []byte {
	payload, _ := json.Marshal(map[string]string{"text": text})
	body, err := by.SealMessage(s.self, core.Message{Intent: core.IntentMessage, From: as.Key.Public().String(), To: s.self.String(),
		Nonce: core.Nonce(nonce), Timestamp: core.FormatTime(time.Now()), Payload: core.Raw(payload)})
	if err != nil {
		s.t.Error(err)
	}
	return body
}

func (s *soak) post(address, path string, body []byte) (int, string) {
	resp, err := s.client.Post("http://"+address+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return resp.StatusCode, string(text)
}

// outcome is what became of honest load.
type outcome struct {
	sent, acknowledged int
	p50, p99           int64 // ms
	rss                int64 // the most
	last               string
}

func (o outcome) log(t *testing.T, name string) {
	t.Logf("%-52s %5d sent  p50 %4d ms  p99 %4d ms  RSS %3d MiB", name, o.sent, o.p50, o.p99, o.rss>>20)
}

// honest sends messages of the friend for a while, beside an attack, and looks a key
// up at the rendezvous now and then.
func (s *soak) honest(d time.Duration, to string, beside func(context.Context)) outcome {
	ctx, stop := context.WithTimeout(s.t.Context(), d)
	defer stop()
	var attacking sync.WaitGroup
	if beside != nil {
		attacking.Go(func() { beside(ctx) })
	}
	var (
		o     outcome
		mu    sync.Mutex // guards o, times
		times []int64
		wg    sync.WaitGroup
	)
	tick := time.NewTicker(honestEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-tick.C:
		}
		nonce := fmt.Sprintf("honest-%d", s.n.Add(1))
		body := s.message(s.friend, s.friend, nonce, "hello "+nonce)
		wg.Go(func() {
			began := time.Now()
			status, text := s.post(to, core.PathMessage, body)
			took := time.Since(began).Milliseconds()
			rss := s.gateway.rss()
			mu.Lock()
			defer mu.Unlock()
			o.sent++
			o.rss = max(o.rss, rss)
			times = append(times, took)
			if status == http.StatusOK {
				o.acknowledged++
				s.mu.Lock()
				s.kept[nonce] = true
				s.mu.Unlock()
			} else {
				o.last = fmt.Sprintf("%d %s", status, text)
			}
		})
	}
	wg.Wait()
	attacking.Wait()
	if status, text := s.get(s.rendezvous.near, "/healthz"); status != http.StatusOK && !s.rendezvous.ended() {
		s.t.Errorf("the rendezvous answers its health with %d %s", status, text)
	}
	slices.Sort(times)
	if n := len(times); n > 0 {
		o.p50, o.p99 = times[n/2], times[n*99/100]
	}
	return o
}

func (s *soak) get(address, path string) (int, string) {
	resp, err := s.client.Get("http://" + address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return resp.StatusCode, string(text)
}

// hold keeps n connections open on which no more than begin was sent.
func (s *soak) hold(ctx context.Context, address string, n int, begin string) {
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for i := 0; ctx.Err() == nil; i = (i + 1) % n {
		if conns[i] != nil {
			conns[i].Close()
		}
		conns[i], _ = net.DialTimeout(map[bool]string{false: "tcp", true: "unix"}[filepath.IsAbs(address)], address, time.Second)
		if conns[i] != nil {
			s.attempts.Add(1)
			io.WriteString(conns[i], begin)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// flooded sends four at a time, about 400 a second. What is answered counts.
func (s *soak) flooded(ctx context.Context, send func(i int64) (status int)) {
	var i atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if send(i.Add(1)) != 0 {
					s.attempts.Add(1)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
}

func (s *soak) forged(i int64) int {
	status, _ := s.post(s.gateway.far, core.PathMessage, s.message(s.stranger, s.friend, fmt.Sprintf("forged-%d", i), "x"))
	return status
}

// tunnel sends bad envelopes from loopback, where the friend is, too: as many as get
// through, until no more than 429 is answered, and then on.
func (s *soak) tunnel(ctx context.Context) {
	var refused atomic.Int64
	s.flooded(ctx, func(i int64) (status int) {
		for range 10 {
			if status, _ = s.post(s.gateway.near, core.PathMessage, s.message(s.stranger, s.friend, fmt.Sprintf("tunnel-%d-%d", i, s.n.Add(1)), "x")); status == http.StatusTooManyRequests {
				refused.Add(1)
			}
		}
		return status
	})
	if refused.Load() == 0 {
		s.t.Error("bad envelopes from loopback are never too many")
	}
}

func (s *soak) garbage(i int64) int {
	texts := []string{"", "{", `{"message":1}`, strings.Repeat("[", 60000), `{"a":"` + strings.Repeat("x", 60000) + `"}`, "\xff\x00"}
	paths := []string{core.PathMessage, core.PathRequest, core.PathApprove, core.PathRemoved, core.PathIdentity, core.PathReply + "n"}
	status, _ := s.post(s.gateway.far, paths[int(i)%len(paths)], []byte(texts[int(i)%len(texts)]))
	return status
}

func (s *soak) requestAndRemoval(int64) int {
	by := &envelope.Sealer{Key: keys.Generate()}
	s.post(s.gateway.near, core.PathRequest, s.request(by))
	status, _ := s.post(s.gateway.near, core.PathRemoved, must(by.SealRemoval(s.self)))
	return status
}

func (s *soak) flood(i int64) int {
	status, _ := s.post(s.gateway.near, core.PathMessage, s.message(s.loud, s.loud, fmt.Sprintf("flood-%d", i), strings.Repeat("x", 14000)))
	return status
}

func (s *soak) polls(i int64) int {
	s.get(s.gateway.far, core.PathReply+fmt.Sprint("guess-", i))
	status, _ := s.get(s.gateway.far, core.PathCard)
	return status
}

// nothingIsLost kills the gateway, starts it again, and finds every acknowledged
// message in its inbox.
func (s *soak) nothingIsLost() {
	s.again(files, os.Kill)
	var inbox []struct {
		Message struct {
			Nonce string `json:"nonce"`
		} `json:"message"`
	}
	text := s.cli(s.home, "inbox", "list", "--peer", "friend", "--limit", "1000000", "--json")
	if err := json.Unmarshal([]byte(text), &inbox); err != nil {
		s.t.Fatalf("%v: %.200s", err, text)
	}
	seen := map[string]int{}
	for _, m := range inbox {
		seen[m.Message.Nonce]++
	}
	lost, doubled := 0, 0
	for nonce := range s.kept {
		switch n := seen[nonce]; {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	s.t.Logf("%d messages acknowledged, %d lost, %d doubled", len(s.kept), lost, doubled)
	if lost > 0 || doubled > 0 {
		s.t.Errorf("%d of %d acknowledged messages are lost, %d are doubled", lost, len(s.kept), doubled)
	}
}

// must is what a key of our own signs, which never fails.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
