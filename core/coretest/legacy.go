package coretest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// Era is a version of the TypeScript gateway that stands for its generation.
type Era string

// The eras, in their order. docs/protocol.md#versions
const (
	H  Era = "0.2.20" // host:port ids
	S  Era = "0.2.30" // 16-character ids
	M  Era = "0.4.3"  // 32-character ids, unsigned handshake
	N  Era = "0.6.0"  // the same, with update-identity and one peer for each URL
	E0 Era = "0.7.0"  // signed envelopes
	E  Era = "0.7.2"  // the same; records are merged
)

// Eras are all of them.
var Eras = []Era{H, S, M, N, E0, E}

// since reports whether the era is from another on.
func (e Era) since(other Era) bool { return slices.Index(Eras, e) >= slices.Index(Eras, other) }

// Signed reports whether the era signs and verifies the handshake.
func (e Era) Signed() bool { return e.since(E0) }

// LegacyPeer is a record of an old gateway.
type LegacyPeer struct {
	ID, PublicKey, URL, Name string
	Status                   string // pending, approved, rejected, removed
	Offered                  []string
	Granted, Received        *core.Bundle
}

// LegacyGateway behaves as an old gateway did on the wire, mistakes included: it
// verifies the signed text alone and looks peers up as the sources of its version
// do. Safe for concurrent use.
type LegacyGateway struct {
	Era Era
	Key keys.Private
	URL string
	// Pause is called between the answer to a request or a removal of its command
	// line and the record of it, which is the order that old gateways have: an
	// approval that comes in between is overwritten. Nil: no pause.
	Pause func()
	// Typed is the URL that its operator types for ours; empty: ours.
	Typed string

	t      testing.TB
	server *httptest.Server // nil: served by who made it
	asleep atomic.Bool
	client *http.Client

	mu        sync.Mutex // guards the rest
	peers     []*LegacyPeer
	messages  []core.Message
	replies   map[core.Nonce]core.Reply
	rates     map[string]int // accepted messages by "from:intent"; tests are shorter than any window
	exchanges []Exchange
}

// Exchange is an envelope that an old gateway got or sent, with the answer.
type Exchange struct {
	Path, Body string
	Sent       bool
	Status     int
	Answer     string
}

// Legacy starts an old gateway.
func Legacy(t testing.TB, era Era) *LegacyGateway {
	t.Helper()
	l := &LegacyGateway{Era: era, Key: keys.Generate(), t: t, replies: map[core.Nonce]core.Reply{}, rates: map[string]int{},
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	l.server = httptest.NewServer(l)
	l.URL = l.server.URL
	t.Cleanup(l.Close)
	return l
}

// LegacyOn makes an old gateway without a server of its own: whoever makes it passes
// requests to its ServeHTTP, and its own go through carrier. What it cannot send is no
// failure of the test.
func LegacyOn(t testing.TB, era Era, gatewayURL string, carrier http.RoundTripper) *LegacyGateway {
	return &LegacyGateway{Era: era, Key: keys.Generate(), URL: gatewayURL, t: t, replies: map[core.Nonce]core.Reply{}, rates: map[string]int{},
		client: &http.Client{Transport: carrier}}
}

// failed says what could not be sent, where that is a failure.
func (l *LegacyGateway) failed(path string, err error) {
	l.t.Helper()
	if l.server != nil {
		l.t.Errorf("coretest: %s %s: %v", l.Era, path, err)
	}
}

// Sleep lets nobody hear of the gateway until Wake.
func (l *LegacyGateway) Sleep() { l.asleep.Store(true) }

// Wake undoes Sleep.
func (l *LegacyGateway) Wake() { l.asleep.Store(false) }

// Close stops the server: nobody reaches the gateway any more.
func (l *LegacyGateway) Close() {
	l.server.CloseClientConnections()
	l.server.Close()
}

func (l *LegacyGateway) host() string { return strings.TrimPrefix(l.URL, "http://") }

// ID is the id that the gateway announces and signs with.
func (l *LegacyGateway) ID() string { return l.idOf(l.Key.Public().String(), l.host()) }

// idOf is the id that the era gives to a key.
func (l *LegacyGateway) idOf(key, announced string) string {
	switch {
	case l.Era == H:
		return announced
	case l.Era == S:
		return key[:min(16, len(key))]
	}
	return key[:min(32, len(key))]
}

// hostPort is the id that 0.2 gives to a gateway whose URL was typed.
func hostPort(typed string) string {
	u, err := url.Parse(typed)
	if err != nil {
		return typed
	}
	port := u.Port()
	if port == "" {
		port = "18790"
	}
	return u.Hostname() + ":" + port
}

// Peer returns a copy of the record of a key; the zero value without one.
func (l *LegacyGateway) Peer(k core.PublicKey) LegacyPeer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.byKey(k.String()); p != nil {
		return *p
	}
	return LegacyPeer{}
}

// byKey is the record of a key: the approved one, if there are two, as 0.2 may
// have. Called with mu held.
func (l *LegacyGateway) byKey(key string) *LegacyPeer {
	var found *LegacyPeer
	for _, p := range l.peers {
		if p.PublicKey == key && (found == nil || p.Status == "approved") {
			found = p
		}
	}
	return found
}

// SetPeer puts a record in place of whatever is known of its key, as an editor of
// peers.json would; Status "" forgets it.
func (l *LegacyGateway) SetPeer(p LegacyPeer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers = slices.DeleteFunc(l.peers, func(x *LegacyPeer) bool { return x.PublicKey == p.PublicKey })
	if p.Status != "" {
		l.peers = append(l.peers, &p)
	}
}

// Peers are copies of all records.
func (l *LegacyGateway) Peers() []LegacyPeer {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]LegacyPeer, 0, len(l.peers))
	for _, p := range l.peers {
		out = append(out, *p)
	}
	return out
}

// Messages are the messages that were accepted.
func (l *LegacyGateway) Messages() []core.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.messages)
}

// Reply is what came for a message of the gateway.
func (l *LegacyGateway) Reply(n core.Nonce) (core.Reply, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.replies[n]
	return r, ok
}

// Exchanges are the envelopes so far, of one path.
func (l *LegacyGateway) Exchanges(path string) []Exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Exchange
	for _, x := range l.exchanges {
		if x.Path == path {
			out = append(out, x)
		}
	}
	return out
}

func (l *LegacyGateway) record(x Exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exchanges = append(l.exchanges, x)
}

// find looks a record up by what a message, a removal or a card request says of
// its sender: by id, and from 0.2.24 on else the first whose key begins with the
// text, of which 0.2 takes 16 characters. Called with mu held.
func (l *LegacyGateway) find(id string) *LegacyPeer {
	for _, p := range l.peers {
		if id != "" && p.ID == id {
			return p
		}
	}
	if l.Era == H || len(id) < 16 {
		return nil
	}
	if l.Era == S {
		id = id[:16]
	}
	for _, p := range l.peers {
		if strings.HasPrefix(p.PublicKey, id) {
			return p
		}
	}
	return nil
}

// identity is what 0.4 and later know a peer by.
type identity struct{ id, url, key string }

func (i identity) fits(p *LegacyPeer) bool {
	short := i.key[:min(32, len(i.key))]
	return i.id != "" && p.ID == i.id || i.url != "" && p.URL == i.url ||
		i.key != "" && (p.PublicKey == i.key || p.ID == short || strings.HasPrefix(p.PublicKey, short))
}

// rank orders what an identity fits: pending records first, whoever asked whom.
func (i identity) rank(p *LegacyPeer) int {
	short, pending := i.key[:min(32, len(i.key))], p.Status == "pending"
	for rank, fits := range []bool{pending && i.key != "" && p.ID == short, pending && i.key != "" && p.PublicKey == i.key, pending,
		i.key != "" && p.ID == short, i.key != "" && p.PublicKey == i.key, i.id != "" && p.ID == i.id, i.url != "" && p.URL == i.url} {
		if fits {
			return rank
		}
	}
	return 7
}

// approvable looks up whom an approval is from. Called with mu held.
func (l *LegacyGateway) approvable(a core.Approval) *LegacyPeer {
	id := a.PeerID
	if id == "" {
		id = a.FromGatewayID
	}
	if l.Era.since(M) {
		if a.FromPublicKey != "" {
			id = l.idOf(a.FromPublicKey, "")
		}
		var best *LegacyPeer
		who := identity{id, a.FromGatewayURL, a.FromPublicKey}
		for _, p := range l.peers {
			if who.fits(p) && (best == nil || who.rank(p) < who.rank(best)) {
				best = p
			}
		}
		return best
	}
	// 0.2 in the end takes any peer that waits.
	tries := []func(*LegacyPeer) bool{
		func(p *LegacyPeer) bool { return a.FromGatewayURL != "" && p.URL == a.FromGatewayURL },
		func(p *LegacyPeer) bool { return p.Status == "pending" },
	}
	if l.Era == S && a.FromPublicKey != "" {
		id = l.idOf(a.FromPublicKey, "")
	}
	for _, text := range []string{id, a.FromGatewayID} {
		if p := l.find(text); p != nil {
			return p
		}
	}
	for _, fits := range tries {
		if i := slices.IndexFunc(l.peers, fits); i >= 0 {
			return l.peers[i]
		}
	}
	return nil
}

// put writes a record as the era's addPeer does: 0.2 in the place of the same id;
// 0.4 to 0.7.0 in the place of everything that its identity fits; 0.7.2 over what
// it knows of the same key. Called with mu held.
func (l *LegacyGateway) put(p *LegacyPeer) {
	who := identity{p.ID, p.URL, p.PublicKey}
	if !l.Era.since(M) {
		who = identity{id: p.ID}
	}
	if l.Era == E {
		for _, x := range l.peers {
			if who.fits(x) && x.PublicKey == p.PublicKey {
				if p.Granted == nil {
					p.Granted = x.Granted
				}
				if p.Received == nil {
					p.Received = x.Received
				}
			}
		}
	}
	l.peers = append(slices.DeleteFunc(l.peers, who.fits), p)
}

// tombstone is what is left of a record. Called with mu held.
func tombstone(p *LegacyPeer, status string) {
	*p = LegacyPeer{ID: p.ID, PublicKey: p.PublicKey, URL: p.URL, Name: p.Name, Status: status}
}

func encode(v any) string {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err) // values of this package
	}
	return string(b)
}

// object is a JSON object whose members keep their order.
type object []struct {
	Name  string
	Value any
}

func (o object) MarshalJSONTo(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, m := range o {
		if err := e.WriteToken(jsontext.String(m.Name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(e, m.Value); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}

func now() string { return core.FormatTime(time.Now()) }
