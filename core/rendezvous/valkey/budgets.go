package valkey

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

const (
	maxShares = 64 << 10         // addresses of one generation
	shareLife = 10 * time.Second // what an address has not used by then goes
)

// share is what this server has taken, for each address, out of a limit that all servers
// share: a tenth of what an address may use at once, so that most requests need not ask
// the engine. An address that is over its limit is refused here until it may come again.
type share struct {
	budget          rendezvous.Budget
	interval, slack time.Duration
	chunk           int

	mu    sync.Mutex // guards young, old
	young map[[16]byte]part
	old   map[[16]byte]part // the generation before
}

type part struct {
	left  int
	until int64 // ms: for how long left holds, or, with none left, when to ask again
}

func newShare(b rendezvous.Budget, r rendezvous.Rate) *share {
	interval := time.Minute / time.Duration(max(r.PerMinute, 1))
	return &share{budget: b, interval: interval, slack: interval * time.Duration(max(r.Burst, 1)-1), chunk: max(r.Burst/10, 1), young: map[[16]byte]part{}}
}

// spend takes one of what we hold; asks says that we hold nothing, and wait that there is
// nothing to be had for so long.
func (h *share) spend(n [16]byte, now int64) (asks bool, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.young[n]
	if !ok {
		p = h.old[n]
	}
	switch {
	case now >= p.until:
		return true, 0
	case p.left == 0:
		return false, time.Duration(p.until-now) * time.Millisecond
	}
	p.left--
	if p.left == 0 {
		p.until = 0
	}
	h.put(n, p)
	return false, 0
}

// got notes what the engine has given. Two that ask at once may both hold theirs.
func (h *share) got(n [16]byte, more int, until int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.young[n]
	if more > 0 && p.left > 0 {
		more += p.left
	}
	if more == 0 && p.left > 0 {
		return
	}
	h.put(n, part{more, until})
}

func (h *share) put(n [16]byte, p part) {
	if _, there := h.young[n]; !there && len(h.young) >= maxShares {
		h.old, h.young = h.young, make(map[[16]byte]part, maxShares)
	}
	h.young[n] = p
}

// Admit is Store.Admit. docs/threat-model.md#n4
func (s *Store) Admit(ctx context.Context, b rendezvous.Budget, from netip.Addr, _ time.Time) error {
	h := s.shares[b]
	if h == nil || !from.IsValid() || from.IsLoopback() {
		return nil
	}
	n, now := rendezvous.Network(from), s.now()
	asks, wait := h.spend(n, now)
	if wait > 0 {
		return rendezvous.ErrTooMany(wait)
	}
	if !asks {
		return nil
	}
	var got []int64
	err := s.link.do(ctx, func(ctx context.Context, c valkey.Client) (err error) {
		got, err = admitScript.Exec(ctx, c, []string{s.name("budget:" + string(b) + ":" + network(from))},
			[]string{s.given(), fraction(millis(h.interval)), fraction(millis(h.slack)), strconv.Itoa(h.chunk)}).AsIntSlice()
		if err == nil && len(got) != 2 {
			err = oddAnswer("admit", got)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case got[0] == 0:
		h.got(n, 0, now+got[1])
		return rendezvous.ErrTooMany(time.Duration(got[1]) * time.Millisecond)
	case got[0] > 1:
		h.got(n, int(got[0])-1, now+shareLife.Milliseconds())
	}
	return nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func fraction(f float64) string      { return strconv.FormatFloat(f, 'f', 6, 64) }

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}
