package sqlite

import (
	"fmt"
	"os"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// BenchmarkWritten says what accepting a message, and noting that it was told, write
// into the log, alone and in batches.
func BenchmarkWritten(b *testing.B) {
	for _, group := range []int{1, 32} {
		b.Run(fmt.Sprintf("batch=%d", group), func(b *testing.B) {
			s := openTest(b, b.TempDir())
			pragma(b, s, "wal_autocheckpoint = 0")
			size := func() int64 {
				info, err := os.Stat(s.path() + "-wal")
				if err != nil {
					b.Fatal(err)
				}
				return info.Size()
			}
			n := (b.N + group - 1) / group * group
			per := func(total int64) float64 { return float64(total) / float64(n) }
			told := make([]*core.Delivery, 0, n)
			at, used := size(), cpu()
			for i := 0; i < n; i += group {
				all := make([]*request, group)
				for k := range all {
					c := accept(i + k)
					told = append(told, c.Deliveries...)
					all[k] = compiled(b, c)
				}
				s.queue.Together(all...)
			}
			b.ReportMetric(per(size()-at), "accept-B/op")
			b.ReportMetric(per((size()-at)/(4096+24)), "accept-pages/op")
			b.ReportMetric(per(int64(cpu()-used)), "accept-cpu-ns/op")
			at, used = size(), cpu()
			for i := 0; i < n; i += group {
				if err := s.Commit(b.Context(), &core.Change{Delivered: told[i : i+group]}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(per((size()-at)/(4096+24)), "told-pages/op")
			b.ReportMetric(per(int64(cpu()-used)), "told-cpu-ns/op")
		})
	}
}
