package gateway

import (
	"context"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/digest"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// encode writes one of our own values as JSON.
func encode(v any) core.Raw {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(err) // our own types, which always encode
	}
	return b
}

// messageEvent is the event of a kept message: they share an id.
func messageEvent(m *core.InboxMessage) *core.Event {
	return &core.Event{ID: m.ID, Type: core.EventMessage, At: m.At, Peer: m.Peer, By: core.Them, Message: m}
}

// Watch returns a channel of the events that are kept from now on, each after it
// can be read from the store, and a function that ends it. They come in the order
// in which they were kept, nearly, which need not be that of their ids. A watcher
// that falls 256 events behind gets those, and then its channel is closed: what
// it has missed is in the store.
func (s *state) Watch() (<-chan core.Event, func()) { return s.watch.Watch() }

// clean makes a peer's words safe to show. docs/threat-model.md#t6
func clean(s string, maxRunes int) string { return text.Line(s, maxRunes) }

// tellOfRequest decides how the operator hears of a stranger's request: at once
// when it is the first in a while, else with the next digest. was is what the peer was
// to us before.
func (s *state) tellOfRequest(was core.Trust, p *core.Peer, st *step) {
	if !st.digest.Request(st.now, digest.Interval) {
		return
	}
	st.Events = append(st.Events, s.event(core.EventRequest, p, core.Them, "A gateway asks for federation.", map[string]any{
		"fingerprint": p.Key.Fingerprint(), "unverified": p.Names, "gatewayUrl": p.URL,
		"offeredIntents": p.Offered, "warning": p.Warning, "was": was,
	}))
}

// sendDigest keeps the notice of what the digest has counted, if it is due.
func (s *state) sendDigest(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decide(ctx, func(st *step) error {
		if st.digest.Due(st.now, digest.Interval) {
			words, data := st.digest.Words(s.peers.Waiting().All)
			st.digest = st.digest.Anew(st.now)
			st.Events = append(st.Events, s.event(core.EventRequestDigest, nil, core.Them, words, data))
		}
		return nil
	})
}

// NotifierSetUp keeps an event for a notifier that can tell nothing until the operator
// changes something. The others tell it.
func (g *state) NotifierSetUp(ctx context.Context, notifier, detail string) {
	e := g.event(core.EventWarning, nil, core.Us, "The notifier "+clean(notifier, 64)+" does not work until its set-up is changed. What it has not been notified of waits. It says: "+clean(detail, 300),
		map[string]any{"notifier": notifier, "error": clean(detail, 300)})
	g.tellOthers(ctx, e, notifier)
}

// tellOthers keeps an event of which all notifiers but one are told.
func (g *state) tellOthers(ctx context.Context, e *core.Event, notifier string) {
	others := func(name string) bool { return name != notifier }
	if err := g.keepFor(ctx, &core.Change{Events: []*core.Event{e}}, others); err != nil {
		g.log.Error("event not kept", "type", e.Type, "err", err)
	}
}

// heldEvent tells that a policy left a message to the human. No word of the message
// goes along.
func (g *state) heldEvent(p *core.Peer, m *core.InboxMessage, v core.Verdict) *core.Event {
	return g.event(core.EventHeld, p, core.Them, "A message was held for the human.",
		map[string]any{"inboxId": m.ID, "policy": v.Policy, "reason": m.Reason, "intent": m.Message.Intent})
}

// DeliveryFailed keeps an event for a notice that a notifier will not be told
// again. Its own notifier is not asked to tell it.
func (g *state) DeliveryFailed(ctx context.Context, d *core.Delivery, detail string) {
	e := g.event(core.EventDeliveryFailed, g.peers.Get(d.Event.Peer), core.Us, "A notifier could not be notified of an event.",
		map[string]any{"notifier": d.Notifier, "event": d.EventID, "type": d.Event.Type, "attempts": d.Attempts, "error": clean(detail, 300)})
	g.tellOthers(ctx, e, d.Notifier)
}
