package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// BenchmarkDay keeps receipts beside a million of the same day, and then forgets all of
// them while more are kept: what that takes, and the longest that one waits meanwhile.
// docs/performance.md#receipts-by-day
func BenchmarkDay(b *testing.B) {
	const many, senders = 1_000_000, 64
	ctx := context.Background()
	s, err := Open(ctx, storetest.Postgres(b))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	day := int64(24 * time.Hour)
	tomorrow := (time.Now().UnixNano()/day + 1) * day
	if _, err := s.pool.Exec(ctx, `INSERT INTO receipts (peer, nonce, at, intent, bytes, status, digest, answer, place)
		SELECT sha256(int4send(n % 1000)), sha256(int4send(n)), $1 + n::bigint * 80000000, 'message', 300, 200, sha256(int4send(n)), convert_to(repeat('x', 200), 'UTF8'), n
		FROM generate_series(1, $2::integer) n`, tomorrow, many); err != nil {
		b.Fatal(err)
	}
	if _, err := s.pool.Exec(ctx, `ANALYZE receipts`); err != nil {
		b.Fatal(err)
	}
	var next, longest atomic.Int64
	keep := func(until func(n int64) bool, at time.Time) {
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for n := next.Add(1); until(n); n = next.Add(1) {
					start := time.Now()
					if err := s.Commit(ctx, &core.Change{Receipt: &core.Receipt{Peer: core.PublicKey{31: byte(n)}, Nonce: core.Nonce(fmt.Sprint("n", n)), At: at,
						Intent: "message", Status: 200, Answer: make([]byte, 200)}}); err != nil {
						b.Error(err)
						return
					}
					for took := int64(time.Since(start)); ; {
						if was := longest.Load(); took <= was || longest.CompareAndSwap(was, took) {
							break
						}
					}
				}
			})
		}
		wg.Wait()
	}
	for b.Loop() {
		last := next.Load() + 1
		keep(func(n int64) bool { return n <= last+50_000 }, time.Unix(0, tomorrow+day/2))
	}
	b.ReportMetric(float64(50_000*b.N)/b.Elapsed().Seconds(), "kept/s")
	longest.Store(0)
	var over atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() { keep(func(int64) bool { return !over.Load() }, time.Unix(0, tomorrow+2*day)) })
	start, before := time.Now(), next.Load()
	if err := s.Prune(ctx, core.Cutoffs{Receipts: time.Unix(0, tomorrow+day)}); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	over.Store(true)
	wg.Wait()
	b.ReportMetric(took.Seconds()*1000, "ms-to-forget")
	b.ReportMetric(float64(next.Load()-before)/took.Seconds(), "kept-meanwhile/s")
	b.ReportMetric(float64(longest.Load())/1e6, "ms-longest-wait")
	var left int
	if err := s.pool.QueryRow(ctx, `SELECT count(*) FROM receipts WHERE at < $1`, tomorrow+day).Scan(&left); err != nil || left > 0 {
		b.Errorf("%d receipts are left, %v, want none", left, err)
	}
}
