package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
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
		default: // a watcher that does not keep up is told so, and never holds up an envelope
			close(ch)
			delete(w.list, ch)
		}
	}
}

// Watch returns a channel of the events that are kept from now on, each after it
// can be read from the store, and a function that ends it. They come in the order
// in which they were kept, nearly, which need not be that of their ids. A watcher
// that falls 256 events behind gets those, and then its channel is closed: what
// it has missed is in the store.
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

// clean makes a peer's words safe to show. docs/threat-model.md#t6
func clean(s string, maxRunes int) string { return text.Line(s, maxRunes) }

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
// a while instead of one each. It is kept with what it counts, so that a restart
// forgets nobody. docs/threat-model.md#t6
type digest struct {
	Last  time.Time `json:"last,omitzero"`  // when the operator was last told
	Count int       `json:"count,omitzero"` // requests since then
}

const digestKey = "gateway.digest"

func (g *Gateway) readDigest(ctx context.Context) error {
	text, err := g.o.Store.Meta(ctx, digestKey)
	if errors.Is(err, core.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), &g.digest)
}

// put lets a change keep the digest as it will be.
func (d digest) put(change *core.Change) {
	change.Meta = map[string]string{digestKey: string(encode(d))}
}

// tellOfRequest decides how the operator hears of a stranger's request: at once
// when it is the first in a while, else with the next digest. It returns the
// digest that is in force once the change is kept. Called with moves held.
func (g *Gateway) tellOfRequest(p *core.Peer, change *core.Change) digest {
	next, now := g.digest, g.o.Now()
	if !next.Last.IsZero() && now.Sub(next.Last) < g.settings.Load().DigestInterval {
		next.Count++
	} else {
		next.Last = now.UTC()
		change.Events = append(change.Events, g.event(core.EventRequest, p, core.Them, "A gateway asks for federation.", map[string]any{
			"fingerprint": p.Key.Fingerprint(), "unverified": p.Names, "gatewayUrl": p.URL,
			"offeredIntents": p.Offered, "warning": p.Warning,
		}))
	}
	next.put(change)
	return next
}

// sendDigest keeps the notice of what the digest has counted, if it is due.
func (g *Gateway) sendDigest(ctx context.Context) error {
	g.transitions.Lock()
	defer g.transitions.Unlock()
	now := g.o.Now()
	if g.digest.Count == 0 || now.Sub(g.digest.Last) < g.settings.Load().DigestInterval {
		return nil
	}
	n, waiting := g.digest.Count, g.peers.count(core.Pending)
	change := &core.Change{Events: []*core.Event{g.event(core.EventRequestDigest, nil, core.Them,
		fmt.Sprintf("%d more requests for federation have come; %d wait in all.", n, waiting),
		map[string]any{"requests": n, "pending": waiting})}}
	next := digest{Last: now.UTC()}
	next.put(change)
	if err := g.keep(ctx, change); err != nil {
		return err
	}
	g.digest = next
	return nil
}

// warnings bounds how often the operator is warned of the same thing, as anyone
// can bring it about again. The zero value is ready.
type warnings struct {
	mu   sync.Mutex // guards last
	last map[lockName]time.Time
}

// due reports whether a while has gone by since it last was due.
func (w *warnings) due(n lockName, now time.Time, interval time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.last[n]; ok && now.Sub(at) < interval {
		return false
	}
	if w.last == nil {
		w.last = map[lockName]time.Time{}
	}
	const most = 4096
	if len(w.last) >= most {
		maps.DeleteFunc(w.last, func(_ lockName, at time.Time) bool { return now.Sub(at) >= interval })
	}
	if len(w.last) >= most {
		return false
	}
	w.last[n] = now
	return true
}

// DeliveryFailed keeps an event for a notice that a notifier will not be told
// again. Its own notifier is not asked to tell it.
func (g *Gateway) DeliveryFailed(ctx context.Context, d *core.Delivery, detail string) {
	e := g.event(core.EventDeliveryFailed, g.peers.get(d.Event.Peer), core.Us, "A notifier could not be told of an event.",
		map[string]any{"notifier": d.Notifier, "event": d.EventID, "type": d.Event.Type, "attempts": d.Attempts, "error": clean(detail, 300)})
	others := func(name string) bool { return name != d.Notifier }
	if err := g.keepFor(ctx, &core.Change{Events: []*core.Event{e}}, others); err != nil {
		g.log.Error("event not kept", "type", e.Type, "err", err)
	}
}
