package web

import (
	"net/netip"
	"testing"
	"time"
)

// A flood of addresses neither grows the memory without bound nor frees the
// address that floods now.
func TestN4LimiterIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := NewLimiter(1, 1)
	for i := range 300_000 {
		l.Allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if got := len(l.young) + len(l.old); got > 2*65536 {
		t.Errorf("%d addresses kept, want at most 131072", got)
	}
	last := netip.AddrFrom4([4]byte{10, byte(299_999 >> 16), byte(299_999 >> 8 & 0xff), byte(299_999 & 0xff)})
	if ok, _ := l.Allow(last, now); ok {
		t.Error("the newest address is forgotten")
	}
}
