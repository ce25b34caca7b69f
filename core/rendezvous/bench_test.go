package rendezvous

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// The benchmarks of docs/performance.md. Requests go through fiber and all of the
// server, without a socket, so that what counts is the server's own work.

func benchKey(i int) (k core.PublicKey) {
	binary.BigEndian.PutUint64(k[8:], uint64(i)*0x9e3779b97f4a7c15) // spread, as keys are
	return k
}

// fill puts n signed records in, as a gateway with a public URL makes them.
func fill(tb testing.TB, s *Server, n int, now time.Time) {
	signature := strings.Repeat("5a", 64)
	for i := range n {
		c := Registration{
			Key: benchKey(i), Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
			Port: 18790, PublicURL: fmt.Sprintf("https://gw-%07d.example.org", i), SentAt: now,
		}
		c.Signed, c.Record = true, envelope.Record{PayloadStr: c.Text(), Signature: signature}
		if _, err := s.memory.registry.put(c, now); err != nil {
			tb.Fatal(err)
		}
	}
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

var sizes = []int{1, 1_000, 1_000_000}

func request(method, path string, body []byte) *fasthttp.RequestCtx {
	ctx := &fasthttp.RequestCtx{}
	ctx.Request.Header.SetMethod(method)
	ctx.Request.Header.SetHost("r.example")
	ctx.Request.SetRequestURI(path)
	ctx.Request.Header.SetContentType("application/json")
	ctx.Request.SetBody(body)
	return ctx
}

func benchGet(b *testing.B, handler fasthttp.RequestHandler, paths []string, want int) {
	ctx, i := request("GET", "/", nil), 0
	b.ReportAllocs()
	used := cpuTime()
	for b.Loop() {
		ctx.Request.SetRequestURI(paths[i%len(paths)])
		i++
		ctx.Response.Reset()
		handler(ctx)
		if got := ctx.Response.StatusCode(); got != want {
			b.Fatalf("%d %s", got, ctx.Response.Body())
		}
	}
	reportCPU(b, cpuTime()-used)
}

// reportCPU says what an operation costs this process, whatever else the machine
// does, and how many of them one core could do in a second.
func reportCPU(b *testing.B, used time.Duration) {
	each := float64(used) / float64(b.N)
	b.ReportMetric(each, "cpu-ns/op")
	b.ReportMetric(float64(time.Second)/each, "op/cpu-s")
}

func BenchmarkBareJSON(b *testing.B) {
	app := web.New(web.Options{})
	app.Fiber.Get("/", func(c *fiber.Ctx) error { return web.JSON(c, 200, map[string]bool{"ok": true}) })
	app.Fiber.Handler() // builds the routes
	benchGet(b, app.Fiber.Server().Handler, []string{"/"}, 200)
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range sizes {
		now := time.Now()
		s := NewServer(ServerOptions{MaxPeers: 1_100_000, ReadsPerMinute: 1e12, Now: func() time.Time { return now }})
		before := heapBytes()
		fill(b, s, n, now)
		per := float64(heapBytes()-before) / float64(n)
		s.app.Fiber.Handler()
		handler := s.app.Fiber.Server().Handler
		hits, misses := make([]string, 1000), make([]string, 1000)
		for i := range hits {
			hits[i] = pathPeer + benchKey(rand.IntN(n)).String()
			misses[i] = pathPeer + benchKey(n+rand.IntN(n)).String()
		}
		b.Run(fmt.Sprintf("hit/%d", n), func(b *testing.B) {
			benchGet(b, handler, hits, 200)
			if n > 1 {
				b.ReportMetric(per, "B/record")
			}
		})
		b.Run(fmt.Sprintf("miss/%d", n), func(b *testing.B) { benchGet(b, handler, misses, 404) })
		runtime.KeepAlive(s)
	}
}

func BenchmarkVerify(b *testing.B) {
	k := key(b, 1)
	text := []byte(recordText(k.Public(), 18790, "https://gw-0000001.example.org", time.Now().UnixMilli()))
	sig, err := keys.ParseSignature(k.Signature(text))
	if err != nil {
		b.Fatal(err)
	}
	public := k.Public()
	used := cpuTime()
	for b.Loop() {
		if !ed25519.Verify(public[:], text, sig[:]) {
			b.Fatal("no")
		}
	}
	reportCPU(b, cpuTime()-used)
}

func BenchmarkRegisterSigned(b *testing.B) {
	for _, n := range sizes {
		now := time.Now()
		s := NewServer(ServerOptions{MaxPeers: 1_100_000, PostsPerMinute: -1, Now: func() time.Time { return now }})
		fill(b, s, n, now)
		s.app.Fiber.Handler()
		handler := s.app.Fiber.Server().Handler
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			// Each is newer than the one before, within the window: 64 keys in turn.
			all := make([]keys.Private, 64)
			for i := range all {
				all[i] = keys.Generate()
			}
			bodies := make([][]byte, b.N)
			for i := range bodies {
				sealer := envelope.Sealer{Key: all[i%len(all)]}
				at := now.Add(time.Duration(i/len(all))*time.Millisecond - 4*time.Minute)
				bodies[i] = must(sealer.SealHints(envelope.Hints{Purpose: envelope.PurposeRegister, Port: 18790, PublicURL: "https://gw-0000001.example.org"}, at))
			}
			ctx := request("POST", pathRegister, nil)
			b.ReportAllocs()
			b.ResetTimer()
			used := cpuTime()
			for _, body := range bodies {
				ctx.Request.SetBody(body)
				ctx.Response.Reset()
				handler(ctx)
				if got := ctx.Response.StatusCode(); got != 200 {
					b.Fatalf("%d %s", got, ctx.Response.Body())
				}
			}
			reportCPU(b, cpuTime()-used)
		})
	}
}

// underLoad looks keys up while f runs and reports how long lookups took: the
// 99.9th percentile and the longest. As the machine has other work, it also
// reports the longest of the same lookups while nothing else of ours runs.
func underLoad(b *testing.B, s *Server, n int, now func() time.Time, f func()) {
	quiet, _ := lookups(s, n, now, func() { time.Sleep(time.Second) })
	took, ran := lookups(s, n, now, f)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(ran), "ms")
	b.ReportMetric(ms(took[len(took)*999/1000]), "p99.9-ms")
	b.ReportMetric(ms(took[len(took)-1]), "longest-ms")
	b.ReportMetric(ms(quiet[len(quiet)-1]), "longest-without-ms")
}

// lookups returns how long each took while f ran, shortest first, and how long f
// did.
func lookups(s *Server, n int, now func() time.Time, f func()) ([]time.Duration, time.Duration) {
	var stop atomic.Bool
	done := make(chan []time.Duration)
	go func() {
		var took []time.Duration
		for !stop.Load() {
			began := time.Now()
			s.memory.registry.get(benchKey(rand.IntN(n)), now())
			took = append(took, time.Since(began))
		}
		done <- took
	}()
	began := time.Now()
	f()
	ran := time.Since(began)
	stop.Store(true)
	took := <-done
	slices.Sort(took)
	return took, ran
}

// BenchmarkExpiry lets a million records expire in one second, while keys are
// looked up.
func BenchmarkExpiry(b *testing.B) {
	const n = 1_000_000
	for range b.N {
		var at atomic.Int64
		at.Store(time.Now().UnixMilli())
		now := func() time.Time { return time.UnixMilli(at.Load()) }
		s := NewServer(ServerOptions{MaxPeers: n, Now: now})
		fill(b, s, n, now())
		at.Add((91 * time.Second).Milliseconds())
		underLoad(b, s, n, now, func() { s.memory.registry.advance(now()) })
		if got := s.memory.registry.live.Load(); got != 0 {
			b.Fatalf("%d live", got)
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	const n = 1_000_000
	now := time.Now()
	s := NewServer(ServerOptions{MaxPeers: n, Now: func() time.Time { return now }})
	fill(b, s, n, now)
	var size counter
	for b.Loop() {
		size = 0
		underLoad(b, s, n, func() time.Time { return now }, func() {
			if err := s.memory.writeSnapshot(&size); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.ReportMetric(float64(size)/(1<<20), "MiB")
}

// BenchmarkLockHeld measures the longest that a shard of a million records is
// locked at a time, in CPU time of the thread, which other work on the machine
// does not lengthen.
func BenchmarkLockHeld(b *testing.B) {
	const n = 1_000_000
	now := time.Now()
	s := NewServer(ServerOptions{MaxPeers: n, Now: func() time.Time { return now }})
	fill(b, s, n, now)
	ms := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
	b.Run("snapshot", func(b *testing.B) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var longest time.Duration
		chunk := make([]byte, 0, 4<<20)
		for b.Loop() {
			for i := range s.memory.registry.shards {
				shard := &s.memory.registry.shards[i]
				began := threadTime()
				shard.appendTo(chunk[:0])
				batches := (len(shard.m) + lockBatch - 1) / lockBatch
				longest = max(longest, (threadTime()-began)/time.Duration(max(1, batches)))
			}
		}
		b.ReportMetric(ms(longest), "held-ms")
	})
	var longest time.Duration // of the first run; the later ones find nothing to do
	b.Run("expiry", func(b *testing.B) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		late := now.Add(91 * time.Second).UnixMilli()
		for i := range s.memory.registry.shards {
			shard := &s.memory.registry.shards[i]
			shard.mu.Lock()
			wheel := shard.wheel
			shard.wheel = [wheelSlots][]*entry{}
			for _, slot := range wheel {
				for batch := range slices.Chunk(slot, lockBatch) {
					began := threadTime()
					s.memory.registry.visit(shard, batch, late)
					longest = max(longest, threadTime()-began)
				}
			}
			shard.mu.Unlock()
		}
		b.ReportMetric(ms(longest), "held-ms")
	})
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

var _ io.Writer = (*counter)(nil)
