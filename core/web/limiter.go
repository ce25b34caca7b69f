package web

import (
	"net/netip"
	"sync"
	"time"
)

// maxLimited bounds the addresses of one generation of a Limiter.
const maxLimited = 64 << 10

// Limiter allows each address so many requests a minute, in bursts. IPv6
// addresses count by their /64, as one host has all of it. It remembers up to
// 131,072 addresses (about 6 MiB); beyond that, those not seen for longest start
// anew. Safe for concurrent use.
//
// docs/threat-model.md#n4
type Limiter struct {
	// ExemptLoopback lets loopback through uncounted. Requests over a Unix socket,
	// which have no address, always are.
	ExemptLoopback bool
	// Loopback is how many times the limit of an address all of loopback has together,
	// where it is not exempt: many may be behind a tunnel. Zero means once for each
	// address.
	Loopback int

	interval time.Duration // one request's worth
	slack    time.Duration // how far ahead of its rate an address may be

	mu    sync.Mutex         // guards young, old
	young map[[16]byte]int64 // when the address has earned back all it used, Unix ns (GCRA)
	old   map[[16]byte]int64 // the generation before
}

// NewLimiter allows perMinute requests a minute and burst at once; both are at
// least 1.
func NewLimiter(perMinute, burst int) *Limiter {
	interval := time.Minute / time.Duration(max(perMinute, 1))
	return &Limiter{
		interval: interval,
		slack:    interval * time.Duration(max(burst, 1)-1),
		young:    map[[16]byte]int64{},
	}
}

// Allow counts a request and reports whether it is within the limit; if not,
// when the next one is.
func (l *Limiter) Allow(addr netip.Addr, now time.Time) (ok bool, retryAfter time.Duration) {
	return l.take(addr, now, l.interval)
}

// Check is Allow without counting.
func (l *Limiter) Check(addr netip.Addr, now time.Time) (ok bool, retryAfter time.Duration) {
	return l.take(addr, now, 0)
}

func (l *Limiter) take(addr netip.Addr, now time.Time, cost time.Duration) (bool, time.Duration) {
	if !addr.IsValid() || l.ExemptLoopback && addr.IsLoopback() {
		return true, 0
	}
	key, slack, t := limitKey(addr), l.slack, now.UnixNano()
	if n := time.Duration(l.Loopback); n > 0 && addr.Unmap().IsLoopback() {
		key, cost, slack = allLoopback, cost/n, slack+l.interval-l.interval/n
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.young[key]
	if !ok {
		at = l.old[key]
	}
	at = max(at, t)
	if wait := at - t - int64(slack); wait > 0 {
		return false, time.Duration(wait)
	}
	if cost == 0 {
		return true, 0
	}
	if len(l.young) >= maxLimited {
		l.old, l.young = l.young, make(map[[16]byte]int64, maxLimited)
	}
	l.young[key] = at + int64(cost)
	return true, 0
}

// allLoopback is what all of loopback is counted under: no address that counts by itself.
var allLoopback = netip.IPv6Loopback().As16()

func limitKey(addr netip.Addr) [16]byte {
	if addr = addr.Unmap(); addr.Is4() {
		return addr.As16()
	}
	key := addr.As16()
	clear(key[8:])
	return key
}
