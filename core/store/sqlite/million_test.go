package sqlite

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// BenchmarkMillion reads a store with a million messages, each with its receipt, of which a
// million are still to be told to each of the notifiers in accept.
//
//	go test ./core/store/sqlite -run XXX -bench Million -benchtime 20x -timeout 20m
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	s := filled(b, n)
	inbox := func(b *testing.B, f core.InboxFilter, want int) {
		for b.Loop() {
			list, err := s.Inbox(b.Context(), f)
			if err != nil || len(list) != want {
				b.Fatalf("Inbox = %d, %v, want %d", len(list), err, want)
			}
		}
	}
	newest, err := s.Inbox(b.Context(), core.InboxFilter{Limit: n / 2})
	if err != nil {
		b.Fatal(err)
	}
	middle := newest[len(newest)-1].ID
	b.Run("newest page", func(b *testing.B) { inbox(b, core.InboxFilter{Limit: 50}, 50) })
	b.Run("page in the middle", func(b *testing.B) { inbox(b, core.InboxFilter{Before: middle, Limit: 50}, 50) })
	b.Run("filter that finds nothing", func(b *testing.B) { inbox(b, core.InboxFilter{Status: core.InboxHeld, Limit: 50}, 0) })
	b.Run("depths", func(b *testing.B) {
		used := cpu()
		for b.Loop() {
			if d, err := s.Depths(b.Context(), 0); err != nil || d.Inbox != n {
				b.Fatalf("Depths = %+v, %v, want %d", d, err, n)
			}
		}
		b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
	})
	b.Run("depths, bounded", func(b *testing.B) {
		for b.Loop() {
			if d, err := s.Depths(b.Context(), core.ManyWait); err != nil || d.Inbox != core.ManyWait || d.Deliveries != core.ManyWait {
				b.Fatalf("Depths = %+v, %v, want %d", d, err, core.ManyWait)
			}
		}
	})
	b.Run("nonces", func(b *testing.B) {
		used := cpu()
		for b.Loop() {
			found := 0
			if err := s.EachNonce(b.Context(), func(uint64) { found++ }); err != nil || found != n {
				b.Fatalf("EachNonce = %d, %v, want %d", found, err, n)
			}
		}
		b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
	})
}
