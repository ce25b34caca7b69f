package valkey

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/valkey-io/valkey-go"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/rendezvous/rendezvoustest"
)

// The benchmarks of docs/rendezvous.md#a-hundred-million, in one run: the store in an
// engine beside the one in memory and the signature that each registration costs.
//
//	OGP_TEST_VALKEY=redis-server go test ./core/rendezvous/valkey -run XXX -bench . -benchtime 2s

// stores runs a benchmark on memory and on an engine. With no engine to run it does so on
// the double, whose numbers say nothing.
func stores(b *testing.B, f func(b *testing.B, s rendezvous.Store)) {
	o := rendezvous.ServerOptions{MaxPeers: 10_000_000, MaxPerAddress: 10_000_000, MissesPerMinute: 1e9}
	b.Run("memory", func(b *testing.B) { f(b, rendezvous.NewMemory(o.Limits(), time.Now())) })
	b.Run("engine", func(b *testing.B) {
		s, _ := open(b, engineOf(b), o)
		f(b, s)
	})
}

func engineOf(b *testing.B) string {
	if rendezvoustest.HasEngine() {
		return "valkey://" + rendezvoustest.NewEngine(b).Addr()
	}
	b.Log("NOT AN ENGINE: " + rendezvoustest.EngineVariable + " names none; this is the double")
	return "valkey://" + miniredis.RunT(b).Addr()
}

// some are records as gateways with a public URL make them. Nobody verifies their signatures
// here; the keys are spread.
func some(i int, at time.Time) rendezvous.Registration {
	r := rendezvous.Registration{Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Port: 18790,
		PublicURL: fmt.Sprintf("https://gw-%07d.example.org", i), Signed: true, SentAt: at}
	binary.BigEndian.PutUint64(r.Key[8:], uint64(i)*0x9e3779b97f4a7c15)
	r.Record = envelope.Record{PayloadStr: r.Text(), Signature: strings.Repeat("5a", 64)}
	return r
}

func parallel(b *testing.B, f func(i int) error) {
	var n atomic.Int64
	b.SetParallelism(64)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(int(n.Add(1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

func BenchmarkRegister(b *testing.B) {
	stores(b, func(b *testing.B, s rendezvous.Store) {
		now := time.Now()
		parallel(b, func(i int) error { // 10,000 gateways renew in turn
			_, err := s.Put(context.Background(), some(i%10_000, now.Add(time.Duration(i/10_000)*time.Millisecond-4*time.Minute)), now)
			if errors.Is(err, core.Conflict) { // a later round has overtaken it
				return nil
			}
			return err
		})
	})
}

func BenchmarkLookup(b *testing.B) {
	stores(b, func(b *testing.B, s rendezvous.Store) {
		all := make([]rendezvous.Registration, 1000)
		for i := range all {
			k := keys.Generate()
			all[i] = registration(k, time.Now())
			if _, err := s.Put(context.Background(), all[i], time.Now()); err != nil {
				b.Fatal(err)
			}
		}
		time.Sleep(2 * freshFor)
		look := func(i int) error {
			_, err := s.Get(context.Background(), all[i%len(all)].Key, time.Now())
			return err
		}
		for i := range all {
			if err := look(i); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("known", func(b *testing.B) { parallel(b, look) })
		if v, ok := s.(*Store); ok {
			b.Run("changed", func(b *testing.B) { // no answer may come from what we have kept
				parallel(b, func(i int) error { v.fresh.add(all[i%len(all)].Key); return look(i) })
			})
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	stores(b, func(b *testing.B, s rendezvous.Store) {
		now := time.Now()
		code, err := s.AddCode(context.Background(), rendezvous.Code{Key: some(1, now).Key, Addr: some(1, now).Addr, Port: 1,
			Created: now.UnixMilli(), Expires: now.Add(time.Hour).UnixMilli()}, time.Time{}, now)
		if err != nil {
			b.Fatal(err)
		}
		parallel(b, func(int) error {
			_, err := s.Resolve(context.Background(), code, netip.MustParseAddr("127.0.0.1"), true, time.Now())
			return err
		})
	})
}

// BenchmarkVerify is what a registration costs besides: its signature.
func BenchmarkVerify(b *testing.B) {
	body := sealed(keys.Generate(), envelope.Hints{Purpose: envelope.PurposeRegister, Port: 1, PublicURL: "https://gw.example"}, time.Now())
	parallel(b, func(int) error {
		_, err := new(envelope.Opener).OpenHints(body, envelope.PurposeRegister, false)
		return err
	})
}

// BenchmarkMemory is what a record takes in an engine.
func BenchmarkMemory(b *testing.B) {
	if !rendezvoustest.HasEngine() {
		b.Skip("NOT RUN: " + rendezvoustest.EngineVariable + " names no redis-server or valkey-server")
	}
	const n = 100_000
	s, _ := open(b, engineOf(b), rendezvous.ServerOptions{})
	used := func() float64 {
		var text string
		if err := s.link.do(context.Background(), func(ctx context.Context, c valkey.Client) (err error) {
			text, err = c.Do(ctx, c.B().Info().Section("memory").Build()).ToString()
			return err
		}); err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(text, "used_memory:")
		number, _, _ := strings.Cut(rest, "\r")
		out, err := strconv.ParseFloat(number, 64)
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	for b.Loop() {
		before, now := used(), time.Now()
		for i := range n {
			if _, err := s.Put(context.Background(), some(i, now), now); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric((used()-before)/n, "B/record")
	}
}
