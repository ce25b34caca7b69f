package brake

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// MetaKey is where the pause of a peer is kept in the store; an empty text is none.
func MetaKey(k core.PublicKey) string { return metaPrefix + k.Fingerprint() }

const metaPrefix = "brake.paused."

// Text is a pause as it is kept.
func (p *Pause) Text() string {
	if p == nil {
		return ""
	}
	text, _ := json.Marshal(p) // strings and a time
	return string(text)
}

// RestorePauses reads which peers are paused.
func (b *Brake) RestorePauses(ctx context.Context, store core.Store, peers []*core.Peer) error {
	for _, p := range peers {
		text, err := store.Meta(ctx, MetaKey(p.Key))
		if err != nil && !errors.Is(err, core.NotFound) {
			return err
		}
		var pause Pause
		if err == nil && text != "" && json.Unmarshal([]byte(text), &pause) == nil {
			b.Set(p.Key, &pause)
		}
	}
	return nil
}

// Follow takes over the pauses that another node has set or ended.
func (b *Brake) Follow(meta map[string]string, peers []*core.Peer) {
	if b == nil {
		return
	}
	for key, text := range meta {
		if !strings.HasPrefix(key, metaPrefix) {
			continue
		}
		for _, p := range peers {
			if MetaKey(p.Key) != key {
				continue
			}
			var pause *Pause
			if text != "" && json.Unmarshal([]byte(text), &pause) != nil {
				pause = nil
			}
			b.Set(p.Key, pause)
		}
	}
}

// Elsewhere counts what another node has kept just now.
func (b *Brake) Elsewhere(e *core.Event) {
	if b == nil {
		return
	}
	b.count(e.Counted(), true)
	if e.Message != nil {
		usual, s := b.all.Of(e.Peer, e.At).Messages/(hours*6), b.o.Settings()
		b.mu.Lock()
		defer b.mu.Unlock()
		_ = b.peer(e.Peer).count(e.Message.Message.Payload, e.At, usual, s) // the next one here may be too much
	}
}

// Recount counts again, from the events of the day before it was made, what a restart
// would forget: budgets, rates, turns, and the chains that are under way. Messages may
// arrive meanwhile.
func (b *Brake) Recount(ctx context.Context, store core.Store) error {
	types := []core.EventType{core.EventMessage, core.EventAgentSent, core.EventAgentReplied}
	return store.EachEvent(ctx, b.began.Add(-hours*time.Hour), types, func(e core.Counted) {
		if e.At.Before(b.began) {
			b.count(e, b.began.Sub(e.At) < turnsFor)
		}
	})
}

// count counts an event as it was counted when it happened.
func (b *Brake) count(e core.Counted, recent bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case e.Type == core.EventMessage:
		u := Use{Messages: 1, Bytes: int64(e.Bytes)}
		b.all.Add(e.Peer, e.At, u)
		if e.Status != core.InboxHeld {
			b.used.Add(Line{e.Peer, e.Intent}, e.At, u)
			b.heardBefore(heard{e.At, e.Peer, e.Conversation, e.Hops})
		}
		if recent {
			b.peer(e.Peer).turn(e.Conversation, e.At)
		}
	case recent && (e.Type == core.EventAgentSent || e.Type == core.EventAgentReplied):
		var act struct {
			Conversation string `json:"conversation"`
		}
		if json.Unmarshal(e.Data, &act) == nil {
			b.peer(e.Peer).acts(act.Conversation, e.At)
		}
	}
}

// heardBefore notes a message that the agent was told of before a restart, unless it has
// heard of a later one. Called with mu held.
func (b *Brake) heardBefore(h heard) {
	if h.at.After(b.last.at) {
		b.last = h
	}
	if b.began.Sub(h.at) < turnsFor && !b.heard[h.conversation].at.After(h.at) {
		b.hears(h.conversation, h)
	}
}
