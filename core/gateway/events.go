package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// encode writes one of our own values as JSON.
func encode(v any) core.Raw {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types, which always encode
	}
	return b
}

// messageEvent is the event of a kept message: they share an id.
func messageEvent(m *core.InboxMessage) *core.Event {
	return &core.Event{ID: m.ID, Type: core.EventMessage, At: m.At, Peer: m.Peer, By: core.Them, Message: m}
}

// watchers are those who want every event as it is kept.
type watchers struct {
	mu   sync.Mutex // guards list
	list map[chan core.Event]struct{}
}

func (w *watchers) tell(e core.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.list {
		select {
		case ch <- e:
		default: // a watcher that does not keep up misses events, and never holds up a letter
		}
	}
}

// Watch returns a channel of the events that are kept from now on, and a
// function that ends it. A watcher that falls 256 events behind misses some.
func (g *Gateway) Watch() (<-chan core.Event, func()) {
	ch := make(chan core.Event, 256)
	g.watch.mu.Lock()
	if g.watch.list == nil {
		g.watch.list = map[chan core.Event]struct{}{}
	}
	g.watch.list[ch] = struct{}{}
	g.watch.mu.Unlock()
	return ch, func() {
		g.watch.mu.Lock()
		delete(g.watch.list, ch)
		g.watch.mu.Unlock()
	}
}

// Bounds on what a peer says of itself.
const (
	maxNameRunes = 80
	maxURLBytes  = 512
)

// clean makes a peer's words safe to show: one line, no control or invisible
// formatting characters, bounded. docs/protocol.md#T6
func clean(s string, maxRunes int) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			r = ' '
		}
		if n++; n > maxRunes {
			b.WriteRune('…')
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

func cleanNames(n core.Names) core.Names {
	return core.Names{
		DisplayName:  clean(n.DisplayName, maxNameRunes),
		Email:        clean(n.Email, maxNameRunes),
		HumanName:    clean(n.HumanName, maxNameRunes),
		AgentName:    clean(n.AgentName, maxNameRunes),
		Organization: clean(n.Organization, maxNameRunes),
	}
}

// digest sums up requests from strangers, so that an operator gets one notice in
// a while instead of one each. docs/protocol.md#T6
type digest struct {
	mu    sync.Mutex // guards the rest
	last  time.Time  // of the last notice
	count int        // since then
}

// requestEvent decides how the operator hears of a stranger's request: at once
// when it is the first in a while, else with the next digest.
func (g *Gateway) requestEvent(p *core.Peer) *core.Event {
	g.digest.mu.Lock()
	defer g.digest.mu.Unlock()
	now := g.o.Now()
	if !g.digest.last.IsZero() && now.Sub(g.digest.last) < g.settings.Load().DigestInterval {
		g.digest.count++
		return nil
	}
	g.digest.last = now
	return g.event(core.EventRequest, p, core.Them, "A gateway asks for federation.", map[string]any{
		"fingerprint": p.Key.Fingerprint(), "unverified": p.Names, "gatewayUrl": p.URL,
		"offeredIntents": p.Offered, "warning": p.Warning,
	})
}

// digestEvent is the notice that is due, or nil.
func (g *Gateway) digestEvent() *core.Event {
	g.digest.mu.Lock()
	defer g.digest.mu.Unlock()
	now := g.o.Now()
	if g.digest.count == 0 || now.Sub(g.digest.last) < g.settings.Load().DigestInterval {
		return nil
	}
	n := g.digest.count
	g.digest.count, g.digest.last = 0, now
	return g.event(core.EventRequestDigest, nil, core.Them,
		fmt.Sprintf("%d more gateways have asked for federation; %d wait in all.", n, g.book.count(core.Pending)),
		map[string]any{"requests": n, "pending": g.book.count(core.Pending)})
}

// DeliveryFailed keeps an event for a notice that a notifier will not be told
// again. Its own notifier is not asked to tell it.
func (g *Gateway) DeliveryFailed(ctx context.Context, d *core.Delivery, detail string) {
	e := g.event(core.EventDeliveryFailed, g.book.get(d.Event.Peer), core.Us, "A notifier could not be told of an event.",
		map[string]any{"notifier": d.Notifier, "event": d.EventID, "type": d.Event.Type, "attempts": d.Attempts, "error": clean(detail, 300)})
	if err := g.keep(ctx, &core.Change{Events: []*core.Event{e}}); err != nil {
		g.log.Error("event not kept", "type", e.Type, "err", err)
	}
}
