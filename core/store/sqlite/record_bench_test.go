package sqlite

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// BenchmarkRecord accepts messages of 32 senders in turns with the record of the last
// commit and with one that is written nowhere, and compares the CPU of the two: what else
// the machine does falls on both.
//
//	go test ./core/store/sqlite -run XXX -bench Record -benchtime 64000x
func BenchmarkRecord(b *testing.B) {
	s := openTest(b, b.TempDir())
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	real, none := s.record, &record{f: null}
	b.Cleanup(func() { s.record = real; null.Close() })
	const senders, turn = 32, 1600
	var used [2]time.Duration
	var done [2]int
	b.ResetTimer()
	for at, with := 0, 0; at+turn <= b.N; at, with = at+turn, 1-with {
		changes := make([]*core.Change, turn)
		for i := range changes {
			changes[i] = accept(at + i)
		}
		s.record = []*record{none, real}[with] // nobody commits
		before := cpu()
		var next atomic.Int64
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for n := next.Add(1); n <= turn; n = next.Add(1) {
					if err := s.Commit(b.Context(), changes[n-1]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		used[with] += cpu() - before
		done[with] += turn
	}
	b.StopTimer()
	if done[1] == 0 {
		return // the first round of one, by which the benchmark begins
	}
	without, with := float64(used[0])/float64(done[0]), float64(used[1])/float64(done[1])
	b.ReportMetric(without, "cpu-ns-without")
	b.ReportMetric(with, "cpu-ns-with")
	b.ReportMetric(with/without, "ratio")
}
