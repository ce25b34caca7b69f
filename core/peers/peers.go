// Package peers holds every peer in memory, by key and by label, so that the way of a
// message reads no store. What an Index gives out is never changed: a transition
// replaces it.
package peers

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// Index holds every peer in memory. Its zero value is ready. Safe for concurrent use.
type Index struct {
	Self  core.PublicKey       // our own key, which no alias may read as; set once, before use
	Alive func(core.PublicKey) // hears of every verified envelope of a peer; set once, before use

	mu      sync.RWMutex // guards all below
	byKey   map[core.PublicKey]*entry
	byLabel map[string][]*entry // 32-character ids and announced ids
	byAlias map[string]*entry
	legacy  map[core.PublicKey]*entry // never shown v2: who a 16-character label may be
	byHost  map[string][]*entry       // hosts of gateway URLs: who a host:port label may be
	byPrint map[string][]*entry       // fingerprints, as core.Squeezed has them
	waits   map[core.PublicKey]*entry // those whose request waits
	lines   map[core.Trust]*line      // by Listed
	all     line
}

// entry is a peer. It stays the same one from record to record.
type entry struct {
	peer   *core.Peer   // guarded by mu of the index, as is listed
	listed core.Trust   // Listed of peer
	seen   atomic.Int64 // last inbound contact, Unix nanoseconds
	mu     sync.Mutex   // guards health
	health peering.Health
}

// Put puts a peer in, or in the place of its record before.
func (b *Index) Put(p *core.Peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byKey == nil {
		b.byKey, b.byLabel = map[core.PublicKey]*entry{}, map[string][]*entry{}
		b.byAlias, b.legacy = map[string]*entry{}, map[core.PublicKey]*entry{}
		b.byHost, b.waits = map[string][]*entry{}, map[core.PublicKey]*entry{}
		b.byPrint, b.lines = map[string][]*entry{}, map[core.Trust]*line{}
	}
	e := b.byKey[p.Key]
	if e == nil {
		e = &entry{peer: p, health: peering.Health{Outbound: peering.Unknown}}
		b.byKey[p.Key] = e
		print := core.Squeezed(p.Key.Fingerprint())
		b.byPrint[print] = append(b.byPrint[print], e)
		b.lineUp(e)
	} else {
		b.unlink(e)
		b.replace(e, p)
	}
	for _, label := range labels(p) {
		b.byLabel[label] = append(b.byLabel[label], e)
	}
	if p.Alias != "" && KeepsAlias(p) {
		b.byAlias[composed(p.Alias)] = e
	}
	if host := HostName(p.URL); host != "" {
		b.byHost[host] = append(b.byHost[host], e)
	}
	if !p.V2 {
		b.legacy[p.Key] = e
	}
	if peering.StateOf(p).Waits() {
		b.waits[p.Key] = e
	}
}

// Forget takes a peer out.
func (b *Index) Forget(k core.PublicKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.byKey[k]; e != nil {
		b.unlink(e)
		b.stepOut(e)
		without(b.byPrint, core.Squeezed(k.Fingerprint()), e)
		delete(b.byKey, k)
	}
}

func (b *Index) unlink(e *entry) {
	for _, label := range labels(e.peer) {
		without(b.byLabel, label, e)
	}
	without(b.byHost, HostName(e.peer.URL), e)
	if alias := composed(e.peer.Alias); b.byAlias[alias] == e {
		delete(b.byAlias, alias)
	}
	delete(b.legacy, e.peer.Key)
	delete(b.waits, e.peer.Key)
}

func without(m map[string][]*entry, name string, e *entry) {
	list := slices.DeleteFunc(m[name], func(x *entry) bool { return x == e })
	if len(list) == 0 {
		delete(m, name)
	} else {
		m[name] = list
	}
}

// KeepsAlias reports whether a peer's alias is taken: that of a peer that has gone
// is free again.
func KeepsAlias(p *core.Peer) bool {
	switch peering.StateOf(p) {
	case peering.Removed, peering.Rejected:
		return false
	}
	return true
}

// HostName is the host of a URL, without its port.
func HostName(gatewayURL string) string {
	u, err := url.Parse(gatewayURL)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// Asks reports whether there is something to ask a peer, now or later.
// docs/threat-model.md#t10
func Asks(p *core.Peer) bool {
	return p.Asking.Series != nil || p.Asking.Pending != 0 || !p.Asking.Confirm.IsZero() || peering.StateOf(p).InDoubt()
}

func labels(p *core.Peer) []string {
	out := []string{p.Key.ID()}
	if p.Label != "" && p.Label != out[0] && p.Label != p.Key.ShortID() {
		out = append(out, p.Label)
	}
	return out
}

// Get returns a peer by its key, or nil.
func (b *Index) Get(k core.PublicKey) *core.Peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if e := b.byKey[k]; e != nil {
		return e.peer
	}
	return nil
}

func (b *Index) entry(k core.PublicKey) *entry {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.byKey[k]
}

// Unsorted lists every peer in any order.
func (b *Index) Unsorted() []*core.Peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]*core.Peer, 0, len(b.byKey))
	for _, e := range b.byKey {
		out = append(out, e.peer)
	}
	return out
}

// Waiting counts requests that wait: all, and those whose claimed URL has shown the
// asker's key.
type Waiting struct{ All, Shown int }

// Waiting counts the requests that wait.
func (b *Index) Waiting() (n Waiting) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	n.All = len(b.waits)
	for _, e := range b.waits {
		if e.peer.Shown {
			n.Shown++
		}
	}
	return n
}

// ByAlias returns the peer that has an alias, or nil.
func (b *Index) ByAlias(alias string) *core.Peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if e := b.byAlias[composed(alias)]; e != nil {
		return e.peer
	}
	return nil
}

// ByURL returns another peer than k whose pinned URL is the same.
func (b *Index) ByURL(gatewayURL string, k core.PublicKey) *core.Peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, e := range b.byHost[HostName(gatewayURL)] {
		if e.peer.URL == gatewayURL && e.peer.Key != k {
			return e.peer
		}
	}
	return nil
}

// Fits returns the peers that an envelope's label may be and that wanted accepts:
// those whose key it is, or whose id. The 16-character label is everybody's: it is
// tried with the peers that have never shown v2. A host:port that nobody announced is
// tried with those at that host. Where more fit than may be tried, the last seen are
// returned. docs/threat-model.md#k3
func (b *Index) Fits(label string, wanted func(*core.Peer) bool) []*core.Peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	found := make([]*entry, 0, envelope.MaxTries)
	switch {
	case len(label) == 88:
		var k core.PublicKey
		if k.UnmarshalText([]byte(strings.ToLower(label))) == nil && b.byKey[k] != nil {
			found = append(found, b.byKey[k])
		}
	case label == (core.PublicKey{}).ShortID():
		for _, e := range b.legacy {
			if wanted == nil || wanted(e.peer) {
				found = lastSeen(found, e)
			}
		}
	default:
		candidates := b.byLabel[label]
		if len(candidates) == 0 {
			if host, _, err := net.SplitHostPort(label); err == nil { // 0.2.20's, which need not be the one that we know
				candidates = b.byHost[strings.ToLower(host)]
			}
		}
		for _, e := range candidates {
			if wanted == nil || wanted(e.peer) {
				found = lastSeen(found, e)
			}
		}
	}
	out := make([]*core.Peer, 0, len(found))
	for _, e := range found {
		if wanted == nil || wanted(e.peer) {
			out = append(out, e.peer)
		}
	}
	return out
}

// lastSeen puts e into a list of at most MaxTries, the last seen first.
func lastSeen(list []*entry, e *entry) []*entry {
	i, _ := slices.BinarySearchFunc(list, e.seen.Load(), func(x *entry, seen int64) int { return cmp.Compare(seen, x.seen.Load()) })
	if i >= envelope.MaxTries {
		return list
	}
	if len(list) == envelope.MaxTries {
		list = list[:len(list)-1]
	}
	return slices.Insert(list, i, e)
}

// Keys lists the keys of peers.
func Keys(peers []*core.Peer) []core.PublicKey {
	out := make([]core.PublicKey, len(peers))
	for i, p := range peers {
		out[i] = p.Key
	}
	return out
}

// Contact notes that a verified envelope came.
func (b *Index) Contact(k core.PublicKey, at time.Time) {
	if e := b.entry(k); e != nil {
		e.seen.Store(at.UnixNano())
		if b.Alive != nil {
			b.Alive(k)
		}
	}
}

// Health is what checks and contacts say of reaching a peer.
func (b *Index) Health(k core.PublicKey) peering.Health {
	e := b.entry(k)
	if e == nil {
		return peering.Health{Outbound: peering.Unknown}
	}
	e.mu.Lock()
	h := e.health
	e.mu.Unlock()
	if ns := e.seen.Load(); ns != 0 {
		h.LastInbound = time.Unix(0, ns).UTC()
	}
	return h
}

// Checked notes what came of reaching out to a peer: nil, or why nothing was heard.
func (b *Index) Checked(k core.PublicKey, err error, at time.Time, maxFailures int) {
	if e := b.entry(k); e != nil {
		e.mu.Lock()
		e.health = e.health.Checked(err, at, maxFailures)
		e.mu.Unlock()
	}
}

// Resolve finds the one peer that an operator means: by its whole fingerprint, key or id,
// which no alias takes from it, by alias, by label, or by the beginning of one of them
// (with or without dashes). Errors are of kind NotFound, or Ambiguous with the candidates.
func (b *Index) Resolve(ref string) (*core.Peer, error) {
	ref = composed(strings.TrimSpace(ref))
	if ref == "" {
		return nil, core.Refuse(core.NotFound, "no peer named")
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	whole := b.named(ref)
	alias := b.byAlias[ref]
	if alias != nil && len(whole) == 0 {
		return alias.peer, nil
	}
	var exact, begins []*core.Peer
	if lower := strings.ToLower(ref); len(whole) == 0 {
		for k, e := range b.byKey {
			switch {
			case composed(e.peer.Alias) == ref, // of one that has gone
				atLabel(ref, e.peer):
				exact = append(exact, e.peer)
			case strings.HasPrefix(strings.ToLower(composed(e.peer.Alias)), lower) && e.peer.Alias != "" && KeepsAlias(e.peer), k.Begins(ref, core.LeastStart):
				begins = append(begins, e.peer)
			}
		}
	}
	for _, list := range [][]*core.Peer{whole, exact, begins} {
		switch len(list) {
		case 0:
			continue
		case 1:
			return list[0], nil
		}
		slices.SortFunc(list, func(x, y *core.Peer) int { return cmp.Compare(x.Name(), y.Name()) })
		e := core.Refusef(core.Ambiguous, "%q could be any of %d peers", ref, len(list))
		for _, p := range list {
			e.Candidates = append(e.Candidates, p.Key.Fingerprint()+"  "+p.Alias)
		}
		e.Hint = "name one by its fingerprint"
		return nil, e
	}
	return nil, core.Refusef(core.NotFound, "no peer named %q", ref).
		WithHint(`"ogp federation list" shows the peers`)
}

// named are the peers of which a text is the whole fingerprint, id or key. Called with mu
// held.
func (b *Index) named(ref string) (out []*core.Peer) {
	if !core.NamesKey(ref) {
		return nil
	}
	lower := strings.ToLower(ref)
	found := slices.Concat(b.byPrint[core.Squeezed(ref)], b.byLabel[lower])
	var k core.PublicKey
	for _, key := range []string{lower, core.SPKIPrefix + lower} {
		if k.UnmarshalText([]byte(key)) == nil && b.byKey[k] != nil {
			found = append(found, b.byKey[k])
		}
	}
	for _, e := range found {
		if e.peer.Key.Named(ref) && !slices.Contains(out, e.peer) { // a label may be of another's making
			out = append(out, e.peer)
		}
	}
	return out
}
