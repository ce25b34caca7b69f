// Package history keeps in memory what has happened within the last day, by the minute:
// envelopes, decisions, queues, the store, plugins; and what each peer has sent and
// received. It is bounded whoever sends what, and costs a message one lock and no
// allocation. What was before the start it does not know.
package history

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	minutes = 24 * 60
	hours   = 25 // a day, and the hour that has begun

	// maxPeers bounds of how many peers the traffic is kept by name: a quarter of them,
	// those with the least, make room for new ones.
	maxPeers = 2048
	// maxPlugins bounds how many plugins a minute has.
	maxPlugins = 64
	// again is how old a reading may be that is shown.
	again = 2 * time.Second
)

// Reading is what the parts say of themselves. Counts are those since the start.
type Reading struct {
	Refused   uint64        // envelopes that were answered with an error
	Questions uint64        // put to policies
	Asked     time.Duration // that the answers took
	Batches   uint64        // transactions of the store
	Committed time.Duration // that they took, to disk
	Depths    core.Depths
	Plugins   []Plugin
}

// Plugin is what a plugin has done.
type Plugin struct {
	Name     string `json:"name"`
	Calls    int64  `json:"calls"`
	Refusals int64  `json:"refusals"`
	Failures int64  `json:"failures"`
}

func (p Plugin) plus(q Plugin, sign int64) Plugin {
	return Plugin{p.Name, p.Calls + sign*q.Calls, p.Refusals + sign*q.Refusals, p.Failures + sign*q.Failures}
}

// Options are what a History is made of.
type Options struct {
	Read func(ctx context.Context) Reading
	Now  func() time.Time // nil: time.Now
}

// History keeps a day. Safe for concurrent use.
type History struct {
	o     Options
	start time.Time

	mu      sync.Mutex // guards all below
	ring    [minutes]minute
	last    Reading
	read    time.Time // when last was read
	peers   map[core.PublicKey]*[hours]hour
	others  [hours]hour
	reading sync.Mutex // held while Read runs
}

// minute is what happened in one. Durations are sums, depths the highest that was read.
type minute struct {
	at                                 int64 // minutes since 1970; another one: long ago
	accepted, held, sent               uint32
	refused, questions, batches        uint64
	asked, committed                   time.Duration
	outbox, deliveries, waits, outAged int
	aged                               int
	plugins                            []Plugin
}

// hour is what a peer and we have said to each other in one.
type hour struct {
	at int64 // hours since 1970; another one: long ago
	Traffic
}

// Traffic is how many messages, and bytes of their payloads, went each way.
type Traffic struct {
	In       int   `json:"in"`
	Out      int   `json:"out"`
	InBytes  int64 `json:"inBytes"`
	OutBytes int64 `json:"outBytes"`
}

func (t *Traffic) add(u Traffic) {
	t.In, t.Out, t.InBytes, t.OutBytes = t.In+u.In, t.Out+u.Out, t.InBytes+u.InBytes, t.OutBytes+u.OutBytes
}

func (t Traffic) both() int { return t.In + t.Out }

// New begins a history.
func New(o Options) *History {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &History{o: o, start: o.Now(), peers: map[core.PublicKey]*[hours]hour{}}
}

// Run reads every minute until ctx is done.
func (h *History) Run(ctx context.Context) error {
	h.sample(ctx)
	return core.Every(ctx, time.Minute, h.sample)
}

// Kept takes note of a change that was kept: messages that came, and what has left.
func (h *History) Kept(c *core.Change) {
	if len(c.Inbox) == 0 && len(c.Outbox) == 0 {
		return
	}
	now := h.o.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.Receipt != nil { // otherwise it is not new
		for _, m := range c.Inbox {
			if m.Status == core.InboxHeld {
				h.minute(now).held++
			} else {
				h.minute(now).accepted++
			}
			h.said(m.Peer, now, Traffic{In: 1, InBytes: int64(len(m.Message.Payload))})
		}
	}
	for _, o := range c.Outbox {
		if o.State != core.OutSent || now.Sub(o.Done) > again || len(c.Replies) > 0 {
			continue
		}
		t := Traffic{Out: 1}
		switch {
		case o.Message != nil:
			t.OutBytes = int64(len(o.Message.Payload))
		case o.Reply != nil:
			t.OutBytes = int64(len(o.Reply.Data) + len(o.Reply.Error))
		default:
			continue
		}
		h.minute(now).sent++
		h.said(o.Peer, now, t)
	}
}

// minute is the one of a time. The caller holds mu.
func (h *History) minute(now time.Time) *minute {
	at := now.Unix() / 60
	m := &h.ring[at%minutes]
	if m.at != at {
		*m = minute{at: at}
	}
	return m
}

// said counts what a peer and we have said. The caller holds mu.
func (h *History) said(k core.PublicKey, now time.Time, t Traffic) {
	p := h.peers[k]
	if p == nil {
		if len(h.peers) >= maxPeers {
			h.makeRoom(now)
		}
		p = new([hours]hour)
		h.peers[k] = p
	}
	in(p, now, t)
}

func in(p *[hours]hour, now time.Time, t Traffic) {
	at := now.Unix() / 3600
	x := &p[at%hours]
	if x.at != at {
		*x = hour{at: at}
	}
	x.add(t)
}

// sum is all of the last day.
func sum(p *[hours]hour, now time.Time) (t Traffic) {
	from := now.Add(-24*time.Hour).Unix() / 3600
	for _, x := range p {
		if x.at >= from {
			t.add(x.Traffic)
		}
	}
	return t
}

// makeRoom forgets the quarter of peers with the least traffic. The caller holds mu.
func (h *History) makeRoom(now time.Time) {
	all := h.busiest(now)
	for _, p := range all[len(all)-len(all)/4:] {
		for _, x := range h.peers[p.Peer] {
			if x.at > 0 {
				in(&h.others, time.Unix(x.at*3600, 0), x.Traffic)
			}
		}
		delete(h.peers, p.Peer)
	}
}

// Peer is the traffic of one peer.
type Peer struct {
	Peer core.PublicKey `json:"publicKey"`
	Traffic
}

// busiest are the peers with any traffic, those with the most first. The caller holds mu.
func (h *History) busiest(now time.Time) []Peer {
	all := make([]Peer, 0, len(h.peers))
	for k, p := range h.peers {
		all = append(all, Peer{k, sum(p, now)})
	}
	slices.SortFunc(all, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(b.both(), a.both()), slices.Compare(a.Peer[:], b.Peer[:]))
	})
	return all
}

// sample reads how the parts do, and puts what has changed since the last time into the
// minute that is.
func (h *History) sample(ctx context.Context) {
	h.reading.Lock()
	defer h.reading.Unlock()
	h.mu.Lock()
	fresh := h.o.Now().Sub(h.read).Abs() < again
	h.mu.Unlock()
	if fresh {
		return
	}
	r := h.o.Read(ctx)
	now := h.o.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.minute(now); !h.read.IsZero() {
		m.refused += since(r.Refused, h.last.Refused)
		m.questions += since(r.Questions, h.last.Questions)
		m.batches += since(r.Batches, h.last.Batches)
		m.asked += max(r.Asked-h.last.Asked, 0)
		m.committed += max(r.Committed-h.last.Committed, 0)
		m.plugins = changed(m.plugins, r.Plugins, h.last.Plugins)
	}
	m, d := h.minute(now), r.Depths
	m.outbox, m.deliveries, m.waits = max(m.outbox, d.Outbox), max(m.deliveries, d.Deliveries), max(m.waits, d.InboxHeld)
	m.outAged, m.aged = max(m.outAged, age(now, d.OldestOutbox)), max(m.aged, age(now, d.OldestDelivery))
	for k, p := range h.peers {
		if sum(p, now).both() == 0 {
			delete(h.peers, k)
		}
	}
	h.last, h.read = r, now
}

// since is how much a count has grown; one that began anew has grown by itself.
func since(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

func age(now, oldest time.Time) int {
	if oldest.IsZero() {
		return 0
	}
	return int(max(now.Sub(oldest), 0) / time.Second)
}

// changed adds to a minute what plugins have done between two readings.
func changed(to, now, before []Plugin) []Plugin {
	for _, p := range now {
		d := p
		if i := slices.IndexFunc(before, func(q Plugin) bool { return q.Name == p.Name }); i >= 0 && before[i].Calls <= p.Calls {
			d = p.plus(before[i], -1)
		}
		to = addPlugin(to, d)
	}
	return to
}

func addPlugin(to []Plugin, d Plugin) []Plugin {
	if d.Calls == 0 && d.Refusals == 0 && d.Failures == 0 {
		return to
	}
	i := slices.IndexFunc(to, func(q Plugin) bool { return q.Name == d.Name })
	switch {
	case i >= 0:
		to[i] = to[i].plus(d, 1)
	case len(to) < maxPlugins:
		to = append(to, d)
	}
	return to
}
