package sqlite

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkCommit(b *testing.B) {
	for _, committers := range []int{1, 32} {
		b.Run(fmt.Sprintf("committers=%d", committers), func(b *testing.B) {
			s := openTest(b, b.TempDir())
			changes := make([]*core.Change, b.N)
			for n := range changes {
				changes[n] = accept(n)
			}
			var next atomic.Int64
			b.ReportAllocs()
			used := cpu()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range committers {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := s.Commit(b.Context(), changes[n-1]); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
			st := s.Stats()
			b.ReportMetric(float64(st.Commits)/float64(st.Batches), "changes/batch")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := openTest(b, dir)
	for n := range 1000 {
		if err := s.Commit(b.Context(), accept(n)); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			s, err := Open(b.Context(), b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s.Close()
			b.StartTimer()
		}
	})
	b.Run("existing", func(b *testing.B) {
		for b.Loop() {
			s, err := Open(b.Context(), dir)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s.Close()
			b.StartTimer()
		}
	})
}

// filled is a store with n accepted messages.
func filled(b *testing.B, n int) *Store {
	s := openTest(b, b.TempDir())
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := s.Commit(context.Background(), accept(int(i)-1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return s
}

func BenchmarkDueDeliveries(b *testing.B) {
	for _, backlog := range []int{1000, 20000} {
		s := filled(b, backlog)
		b.Run(fmt.Sprintf("backlog=%d/limit=1", backlog), func(b *testing.B) { benchDue(b, s, time.Now(), 1, 1) })
		b.Run(fmt.Sprintf("backlog=%d/limit=100", backlog), func(b *testing.B) { benchDue(b, s, time.Now(), 100, 100) })
	}
}

func benchDue(b *testing.B, s *Store, now time.Time, limit, want int) {
	b.ReportAllocs()
	for b.Loop() {
		all, err := s.DueDeliveries(b.Context(), "openclaw", now, limit)
		if err != nil || len(all) != want {
			b.Fatalf("DueDeliveries = %d, %v, want %d", len(all), err, want)
		}
	}
}

func BenchmarkEachReceipt(b *testing.B) {
	const n = 100_000
	s := filled(b, n)
	b.ReportAllocs()
	for b.Loop() {
		found := 0
		if err := s.EachReceipt(b.Context(), time.Time{}, 0, func(core.Receipt) { found++ }); err != nil || found != n {
			b.Fatalf("EachReceipt = %d envelopes, %v, want %d", found, err, n)
		}
	}
}

func BenchmarkReceipt(b *testing.B) {
	s := filled(b, 10_000)
	l := accept(77).Receipt
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Receipt(b.Context(), l.Peer, l.Nonce); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDepths(b *testing.B) {
	s := filled(b, 100_000)
	for b.Loop() {
		if _, err := s.Depths(b.Context(), 0); err != nil {
			b.Fatal(err)
		}
	}
}
