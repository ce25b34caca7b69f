package rendezvous

import (
	"context"
	"net/netip"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// memory is the Store of a server by itself. It never blocks and is never away.
type memory struct {
	registry *registry
	invites  *invites
	budgets  map[Budget]*web.Limiter // without those that have no limit
	misses   *web.Limiter
	flood    *flood
}

// NewMemory returns a Store in this process, whose clock stands at now.
func NewMemory(l Limits, now time.Time) Store { return newMemory(l, now) }

func newMemory(l Limits, now time.Time) *memory {
	m := &memory{
		registry: newRegistry(limits{max: l.MaxPeers, perAddress: l.MaxPerAddress, ttl: l.TTL, window: l.Window}, now),
		invites:  newInvites(l.MaxInvites, l.MaxInvitesPerKey, l.MaxInvitesPerAddress, l.Window),
		budgets:  map[Budget]*web.Limiter{},
		misses:   limiter(l.MissRate()),
		flood:    newFlood(l.MissesPerMinute),
	}
	for _, b := range []Budget{BudgetPosts, BudgetReads} {
		if rate, ok := l.Rate(b); ok {
			m.budgets[b] = limiter(rate)
		}
	}
	return m
}

func limiter(r Rate) *web.Limiter {
	l := web.NewLimiter(r.PerMinute, r.Burst)
	l.ExemptLoopback = true
	return l
}

func (m *memory) Put(_ context.Context, r Registration, now time.Time) (bool, error) {
	return m.registry.put(r, now)
}

func (m *memory) Get(_ context.Context, k core.PublicKey, now time.Time) (Kept, error) {
	f, missing := m.registry.get(k, now)
	if missing != nil {
		return Kept{}, missing.err
	}
	return f, nil
}

func (m *memory) Drop(_ context.Context, k core.PublicKey, from netip.Addr, signedAt, now time.Time) error {
	return m.registry.drop(k, from, signedAt, now)
}

func (m *memory) Newer(_ context.Context, k core.PublicKey, at, now time.Time) (bool, error) {
	return m.registry.newer(k, at, now), nil
}

func (m *memory) AddCode(_ context.Context, c Code, signedAt, now time.Time) (string, error) {
	return m.invites.add(c, signedAt, now)
}

func (m *memory) Resolve(_ context.Context, text string, from netip.Addr, count bool, now time.Time) (Code, error) {
	if ok, after := m.misses.Check(from, now); !ok {
		return Code{}, tooMany(after)
	}
	flooded := m.flood.on(now)
	if flooded && from.IsLoopback() { // there nobody has a budget of its own
		return Code{}, tooMany(m.flood.refuse(now))
	}
	c, err := m.invites.get(text, count, now)
	switch {
	case err == nil:
		return c, nil
	case flooded:
		err = tooMany(m.flood.refuse(now))
	default:
		m.flood.miss(now)
	}
	m.misses.Allow(from, now)
	return Code{}, err
}

func (m *memory) Codes(_ context.Context, k core.PublicKey, now time.Time) ([]Code, error) {
	return m.invites.list(k, now), nil
}

func (m *memory) Revoke(_ context.Context, k core.PublicKey, text string, now time.Time) error {
	return m.invites.revoke(k, text, now)
}

// Admit is one request against its address's limit.
//
// docs/threat-model.md#n4
func (m *memory) Admit(_ context.Context, b Budget, from netip.Addr, now time.Time) error {
	if l := m.budgets[b]; l != nil {
		if ok, after := l.Allow(from, now); !ok {
			return tooMany(after)
		}
	}
	return nil
}

func (m *memory) Counts(_ context.Context, now time.Time) (Counts, error) {
	r := m.registry
	live := r.live.Load()
	return Counts{
		Live: live, Brief: live - r.long.Load(), Entries: r.entries.Load(), Codes: int64(m.invites.len()), Expired: r.expired.Load(),
		Renewed: r.renewed.Load(), Dropped: r.dropped.Load(), HoldUntil: time.UnixMilli(r.preserveUntil.Load()),
	}, nil
}

func (m *memory) Hold(_ context.Context, until time.Time) error {
	m.registry.preserveUntil.Store(max(m.registry.preserveUntil.Load(), until.UnixMilli()))
	return nil
}

func (m *memory) Expire(_ context.Context, now time.Time) error {
	m.registry.advance(now)
	m.invites.advance(now)
	return nil
}
