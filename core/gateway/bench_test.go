package gateway_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
)

// The figures of docs/performance.md come from here.

var peerCounts = []int{10, 1_000, 10_000}

// cpu is the CPU time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchGateway is a gateway with peers, of which the first ones are returned.
func benchGateway(b *testing.B, store core.Store, peers int) (*gateway.Gateway, []*peer) {
	b.Helper()
	g, err := gateway.New(b.Context(), gateway.Options{Signer: keys.Generate(), Settings: ours.Defaults(), Store: store, Transport: &wire{}, Version: "bench",
		Notifiers: func() []string { return []string{"log"} }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(g.Close)
	var senders []*peer
	records := make([]*core.Peer, 0, peers)
	for range peers {
		p := newPeer(nil)
		record := p.record(core.Approved)
		record.V2 = true
		record.Granted.Scopes[0].RateLimit = &core.RateLimit{Requests: 1 << 30, WindowSeconds: 1}
		records = append(records, record)
		if len(senders) < 64 {
			senders = append(senders, p)
		}
	}
	if _, err := g.ImportPeers(b.Context(), records); err != nil {
		b.Fatal(err)
	}
	return g, senders
}

// run has a gateway do what it does beside answering: it reads the used nonces, for one, so
// that the store is not asked about each.
func run(b *testing.B, g *gateway.Gateway) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	b.Cleanup(func() { stop(); <-done })
}

// bodies signs n messages, of many senders.
func bodies(b *testing.B, g *gateway.Gateway, senders []*peer, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = senders[i%len(senders)].message(b, g.Key(), func(m *core.Message) {
			m.Payload = core.Raw(`{"text":"Hello from the other side, how are things over there today?"}`)
		})
	}
	return out
}

func openStore(b *testing.B) core.Store {
	b.Helper()
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "state"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// report gives the CPU of one operation, and of one ed25519.Verify, measured in
// the same run.
func report(b *testing.B, used time.Duration, body []byte) {
	perOp := float64(used) / float64(b.N)
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	text := body[:300]
	sig := ed25519.Sign(priv, text)
	const times = 3000
	start := cpu(b)
	for range times {
		if !ed25519.Verify(pub, text, sig) {
			b.Fatal("no")
		}
	}
	verify := float64(cpu(b)-start) / times
	b.ReportMetric(perOp/1000, "cpu-µs/op")
	b.ReportMetric(verify/1000, "verify-µs")
	b.ReportMetric(perOp/verify, "verifies/op")
}

// inBatches runs work on signed bodies, which are made outside the clock so that
// they are fresh.
func inBatches(b *testing.B, g *gateway.Gateway, senders []*peer, work func(bodies [][]byte)) {
	const batch = 20_000
	var used time.Duration
	var one []byte
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		b.StopTimer()
		list := bodies(b, g, senders, min(batch, b.N-done))
		one = list[0]
		b.StartTimer()
		start := cpu(b)
		work(list)
		used += cpu(b) - start
	}
	b.StopTimer()
	report(b, used, one)
}

// spread runs f on all of a list from several goroutines.
func spread(list [][]byte, workers int, f func(worker int, body []byte)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				f(w, list[i])
			}
		})
	}
	wg.Wait()
}

// ReceiveMessage without HTTP: the memory store shows the gateway's own cost,
// sqlite what a commit adds.
func BenchmarkReceiveMessage(b *testing.B) {
	for _, kind := range []string{"memory", "sqlite"} {
		for _, senders := range []int{1, 32} {
			for _, peers := range peerCounts {
				b.Run(fmt.Sprintf("store=%s/senders=%d/peers=%d", kind, senders, peers), func(b *testing.B) {
					var store core.Store = memory.New()
					if kind == "sqlite" {
						store = openStore(b)
					}
					g, from := benchGateway(b, store, peers)
					run(b, g)
					inBatches(b, g, from, func(list [][]byte) {
						spread(list, senders, func(_ int, body []byte) {
							if a, err := g.ReceiveMessage(context.Background(), body); err != nil || a.Status != 200 {
								b.Error(a.Status, err)
							}
						})
					})
				})
			}
		}
	}
}

// A message from end to end over loopback: the senders' CPU is in the figure,
// too, as they are in the same process; BenchmarkPing shows how much that is.
func BenchmarkAccept(b *testing.B) {
	for _, senders := range []int{1, 32} {
		for _, peers := range peerCounts {
			b.Run(fmt.Sprintf("senders=%d/peers=%d", senders, peers), func(b *testing.B) {
				g, from := benchGateway(b, openStore(b), peers)
				run(b, g)
				conns := callers(b, serveBench(b, g), senders)
				inBatches(b, g, from, func(list [][]byte) {
					spread(list, senders, func(w int, body []byte) { conns[w].ask(b, "POST", federation.PathMessage, body) })
				})
			})
		}
	}
}

// BenchmarkPing is an exchange in which the gateway does next to nothing: the
// cost of HTTP on both sides.
func BenchmarkPing(b *testing.B) {
	for _, senders := range []int{1, 32} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			g, from := benchGateway(b, memory.New(), 1)
			conns := callers(b, serveBench(b, g), senders)
			inBatches(b, g, from, func(list [][]byte) {
				spread(list, senders, func(w int, _ []byte) { conns[w].ask(b, "GET", federation.PathPing, nil) })
			})
		})
	}
}

// caller is one sender's connection.
type caller struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	req  fasthttp.Request
	resp fasthttp.Response
}

// callers opens connections to a server.
func callers(b *testing.B, addr string, n int) []*caller {
	b.Helper()
	out := make([]*caller, n)
	for i := range out {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		out[i] = &caller{conn: conn, r: bufio.NewReader(conn), w: bufio.NewWriter(conn)}
	}
	return out
}

func (c *caller) ask(b *testing.B, method, path string, body []byte) {
	c.req.Header.SetMethod(method)
	c.req.Header.SetHost("bench")
	c.req.Header.SetRequestURI(path)
	if body != nil {
		c.req.Header.SetContentType("application/json")
		c.req.SetBodyRaw(body)
	}
	err := c.req.Write(c.w)
	if err == nil {
		err = c.w.Flush()
	}
	if err == nil {
		err = c.resp.Read(c.r)
	}
	if err != nil || c.resp.StatusCode() != 200 {
		b.Error(c.resp.StatusCode(), string(c.resp.Body()), err)
	}
}

func serveBench(b *testing.B, g *gateway.Gateway) (addr string) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	app := federation.NewServer(federation.Options{Gateway: g})
	go func() { defer close(done); _ = app.Serve(ctx, ln) }()
	b.Cleanup(func() { cancel(); <-done })
	return ln.Addr().String()
}

// New with 10,000 peers and 100,000 envelopes on disk.
func BenchmarkStart(b *testing.B) {
	for _, size := range []struct{ peers, receipts int }{{10, 100}, {10_000, 100_000}} {
		b.Run(fmt.Sprintf("peers=%d/envelopes=%d", size.peers, size.receipts), func(b *testing.B) {
			dir := filepath.Join(b.TempDir(), "state")
			store, err := sqlite.Open(b.Context(), dir)
			if err != nil {
				b.Fatal(err)
			}
			_, from := benchGateway(b, store, size.peers)
			var wg sync.WaitGroup
			slots := make(chan struct{}, 256)
			for i := range size.receipts {
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					l := &core.Receipt{Peer: from[i%len(from)].key, Nonce: envelope.NewNonce(), At: time.Now(), Intent: "message", Status: 200, Answer: []byte(`{}`)}
					if err := store.Commit(context.Background(), &core.Change{Receipt: l}); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			if err := store.Close(); err != nil {
				b.Fatal(err)
			}
			key := keys.Generate()
			b.ReportAllocs()
			for b.Loop() {
				store, err := sqlite.Open(b.Context(), dir)
				if err != nil {
					b.Fatal(err)
				}
				g, err := gateway.New(b.Context(), gateway.Options{Signer: key, Settings: ours.Defaults(), Store: store, Transport: &wire{}})
				if err != nil {
					b.Fatal(err)
				}
				g.Close()
				store.Close()
			}
		})
	}
}
