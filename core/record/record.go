// Package record keeps what the policies have decided, in a ring in the gateway's
// store: so many decisions and so many bytes at the most, in all and of each peer. All
// strangers share one small ring. What is over goes with the change that adds, and
// what a peer leaves that is forgotten goes with the change that forgets it.
//
// docs/replay.md
package record

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
)

// Bound is how much a ring holds.
type Bound struct{ Rows, Bytes int }

// The bounds of the rings.
var (
	Total     = Bound{20_000, 32 << 20}
	PerPeer   = Bound{2_000, 4 << 20}
	Strangers = Bound{500, 512 << 10} // of all strangers together
)

// maxPayload is the longest payload that is recorded, and maxStranger the longest
// record of a stranger's request. What is longer is recorded without it, or not at all.
const (
	maxPayload  = 64 << 10
	maxStranger = 8 << 10
)

// Decision is one that was made, with what is needed to make it again.
type Decision struct {
	ID    string         `json:"id"` // ULID
	At    time.Time      `json:"at"`
	Kind  core.Hook      `json:"kind"`
	Peer  core.PublicKey `json:"peer"`
	Then  Peer           `json:"then"`
	Bytes int            `json:"bytes,omitzero"` // of the signed text

	Message   *core.Message `json:"message,omitempty"` // its payload only if the operator wants those recorded
	Topic     string        `json:"topic,omitempty"`
	TextBytes int           `json:"textBytes,omitzero"`
	InboxID   string        `json:"inboxId,omitempty"` // of the message, where it was kept

	Request     *core.Request `json:"request,omitempty"`
	URLVerified bool          `json:"urlVerified,omitzero"`

	Verdict core.Decision  `json:"verdict"`
	Policy  string         `json:"policy,omitempty"`
	Rule    string         `json:"rule,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Code    string         `json:"code,omitempty"`
	Counts  map[string]int `json:"counts,omitempty"`
}

// Peer is what was known of a peer then, as far as policies are told.
type Peer struct {
	Alias   string       `json:"alias,omitempty"`
	Tags    []string     `json:"tags,omitempty"`
	Trust   core.Trust   `json:"trust,omitempty"`
	Names   core.Names   `json:"names,omitzero"` // unverified
	URL     string       `json:"url,omitempty"`
	Offered []string     `json:"offered,omitempty"`
	Grants  []core.Grant `json:"grants,omitempty"`
	Refused bool         `json:"refused,omitempty"` // by our operator, so that no policy approves it
}

// Settings say what is recorded, a part of the [policy] table of the configuration.
type Settings struct {
	Keep     time.Duration `koanf:"record" unit:"duration" check:"0s.." doc:"How long decisions are recorded, for \"ogp policy replay\", within limits of rows and bytes. 0s: none are recorded."`
	Payloads bool          `koanf:"record_payloads" doc:"Whether the payloads of messages are recorded, too. What was let in or held is in the inbox anyway."`
}

// plugin is the name that the ring has in the store's key-value part. No plugin can
// have it.
const plugin = "_decisions"

// Store is what the record needs of the gateway's store.
type Store interface {
	Commit(ctx context.Context, c *core.Change) error
	KV(ctx context.Context, plugin, key string) ([]byte, error)
	KVList(ctx context.Context, plugin, prefix string) (map[string]int, error)
}

// Ring is the record. Safe for concurrent use.
type Ring struct {
	store Store
	log   *slog.Logger
	// TextBytes gives the size of what a message says to a reader. Nil: 0.
	TextBytes func(m *core.Message) int

	mu       sync.Mutex // guards all below
	settings Settings
	peers    map[core.PublicKey]*ring
	strange  ring
	rows     int // in all
	bytes    int
}

// ring are the places of one ring, the oldest first.
type ring struct {
	places []place
	bytes  int
}

type place struct {
	key  string // in the store
	peer core.PublicKey
	size int
}

// id is the last part of a key, which tells when it was made.
func (p place) id() string { return p.key[strings.LastIndexByte(p.key, '/')+1:] }

func (r *ring) drop(i int) place {
	p := r.places[i]
	if i == 0 {
		r.places = r.places[1:]
	} else {
		r.places = slices.Delete(r.places, i, i+1)
	}
	r.bytes -= p.size
	return p
}

func (r *ring) over(b Bound) bool { return len(r.places) > b.Rows || r.bytes > b.Bytes }

// Open reads where the records are.
func Open(ctx context.Context, store Store, s Settings, log *slog.Logger) (*Ring, error) {
	r := &Ring{store: store, log: log, settings: s, peers: map[core.PublicKey]*ring{}}
	sizes, err := store.KVList(ctx, plugin, "")
	if err != nil {
		return nil, err
	}
	byAge := func(a, b string) int { return strings.Compare(place{key: a}.id(), place{key: b}.id()) }
	for _, k := range slices.SortedFunc(maps.Keys(sizes), byAge) {
		parts := strings.Split(k, "/")
		p := place{key: k, size: sizes[k]}
		if len(parts) != 3 {
			continue
		}
		if n, err := hex.Decode(p.peer[:], []byte(parts[1])); err != nil || n != len(p.peer) {
			continue
		}
		r.put(p, parts[0] == "s")
	}
	return r, nil
}

func (r *Ring) of(k core.PublicKey, stranger bool) *ring {
	if stranger {
		return &r.strange
	}
	one := r.peers[k]
	if one == nil {
		one = &ring{}
		r.peers[k] = one
	}
	return one
}

func (r *Ring) put(p place, stranger bool) {
	one := r.of(p.peer, stranger)
	one.places = append(one.places, p)
	one.bytes += p.size
	r.rows++
	r.bytes += p.size
}

// Set puts other settings in force.
func (r *Ring) Set(s Settings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings = s
}

// Decided adds a decision to the change that it belongs to. inboxID is of the message
// that is kept; empty: none is.
func (r *Ring) Decided(c *core.Change, q core.Question, v core.Verdict, inboxID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settings.Keep == 0 {
		return
	}
	d := Decision{ID: ulid.Make().String(), At: q.Now.UTC(), Kind: q.Kind, Peer: q.Peer.Key, Bytes: q.Bytes, Topic: q.Topic, InboxID: inboxID,
		URLVerified: q.URLVerified, Verdict: v.Decision, Policy: v.Policy, Rule: v.Rule, Reason: cut(v.Reason, 300), Code: cut(v.Code, 64), Counts: v.Counts,
		Then: Peer{q.Peer.Alias, q.Peer.Tags, q.Peer.Trust, q.Peer.Names, q.Peer.URL, q.Peer.Offered, nil, q.Peer.Refused}}
	if q.Peer.Granted != nil {
		d.Then.Grants = q.Peer.Granted.Scopes
	}
	stranger := q.Request != nil
	if stranger {
		request := *q.Request
		request.Peer = core.PeerCard{} // it is in Then, cleaned
		request.OfferedIntents = nil
		d.Request = &request
	}
	if q.Message != nil {
		m := *q.Message
		if !r.settings.Payloads || len(m.Payload) > maxPayload {
			m.Payload = nil
		}
		d.Message = &m
		if r.TextBytes != nil {
			d.TextBytes = r.TextBytes(q.Message)
		}
	}
	text, err := json.Marshal(d, jsontext.AllowInvalidUTF8(true), json.Deterministic(true))
	if err != nil || stranger && len(text) > maxStranger {
		r.log.Debug("decision not recorded", "kind", q.Kind, "bytes", len(text), "err", err)
		return
	}
	kind := "p"
	if stranger {
		kind = "s"
	}
	p := place{key: kind + "/" + hex.EncodeToString(d.Peer[:]) + "/" + d.ID, peer: d.Peer, size: len(text)}
	r.put(p, stranger)
	c.KV = append(c.KV, core.KVPut{Plugin: plugin, Key: p.key, Value: text})
	r.bound(c, d.Peer, stranger)
}

// cut bounds a text, at a whole character.
func cut(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// bound lets go of what is over. Called with mu held.
func (r *Ring) bound(c *core.Change, k core.PublicKey, stranger bool) {
	bound := PerPeer
	if stranger {
		bound = Strangers
	}
	for one := r.of(k, stranger); one.over(bound); {
		r.let(c, one.drop(0))
	}
	for r.rows > Total.Rows || r.bytes > Total.Bytes {
		largest := &r.strange
		for _, one := range r.peers {
			if one.bytes > largest.bytes {
				largest = one
			}
		}
		if len(largest.places) == 0 {
			return
		}
		r.let(c, largest.drop(0)) // of whoever has the most, so that nobody drives others out
	}
}

func (r *Ring) let(c *core.Change, p place) {
	r.rows--
	r.bytes -= p.size
	c.KV = append(c.KV, core.KVPut{Plugin: plugin, Key: p.key})
}

// Forgotten lets go of all that is recorded of a peer, with the change that forgets it.
func (r *Ring) Forgotten(c *core.Change, k core.PublicKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.peers[k]; one != nil {
		for _, p := range one.places {
			r.let(c, p)
		}
		delete(r.peers, k)
	}
	for i := 0; i < len(r.strange.places); {
		if r.strange.places[i].peer == k {
			r.let(c, r.strange.drop(i))
		} else {
			i++
		}
	}
}

// Prune lets go of what is older than the settings say, of all where nothing is recorded.
func (r *Ring) Prune(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	before := ulid.ULID{}
	if err := before.SetTime(ulid.Timestamp(now.Add(-r.settings.Keep))); err != nil {
		r.mu.Unlock()
		return err
	}
	first, c := before.String(), &core.Change{Lazy: true}
	rings := []*ring{&r.strange}
	for k, one := range r.peers {
		if len(one.places) == 0 {
			delete(r.peers, k)
		}
		rings = append(rings, one)
	}
	for _, one := range rings {
		for len(one.places) > 0 && len(c.KV) < 5000 && (r.settings.Keep == 0 || one.places[0].id() < first) {
			r.let(c, one.drop(0))
		}
	}
	r.mu.Unlock()
	if len(c.KV) == 0 {
		return nil
	}
	return r.store.Commit(ctx, c)
}

// Page gives recorded decisions since a time, the newest first: at most limit of those
// before an id (empty: from the newest on).
func (r *Ring) Page(ctx context.Context, since time.Time, before string, limit int) (out []Decision, err error) {
	first := ""
	if !since.IsZero() {
		at := ulid.ULID{}
		if at.SetTime(ulid.Timestamp(since)) == nil {
			first = at.String()
		}
	}
	var places []place
	newestFirst := func(a, b place) int { return strings.Compare(b.id(), a.id()) }
	least := ""
	r.mu.Lock()
	take := func(one *ring) { // its places are in order, so that few of them are looked at
		end := len(one.places)
		if before != "" {
			end, _ = slices.BinarySearchFunc(one.places, before, func(p place, id string) int { return strings.Compare(p.id(), id) })
		}
		for i := end - 1; i >= 0 && end-i <= limit; i-- {
			if id := one.places[i].id(); id < first || id <= least {
				break
			}
			places = append(places, one.places[i])
		}
		if len(places) > 4*limit {
			slices.SortFunc(places, newestFirst)
			places = places[:limit]
			least = places[limit-1].id()
		}
	}
	take(&r.strange)
	for _, one := range r.peers {
		take(one)
	}
	r.mu.Unlock()
	slices.SortFunc(places, newestFirst)
	for _, p := range places[:min(limit, len(places))] {
		d, err := r.read(ctx, p)
		switch {
		case errors.Is(err, core.NotFound): // it was let go of meanwhile, or never kept
			d = Decision{ID: p.id()}
		case err != nil:
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func (r *Ring) read(ctx context.Context, p place) (d Decision, err error) {
	text, err := r.store.KV(ctx, plugin, p.key)
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(text, &d, jsontext.AllowInvalidUTF8(true))
}

// Question is the question that a decision answered. payload is that of the message,
// where it is known from elsewhere.
func (d *Decision) Question(payload core.Raw) core.Question {
	q := core.Question{Kind: d.Kind, Now: d.At, Topic: d.Topic, Bytes: d.Bytes, URLVerified: d.URLVerified, Request: d.Request, TextBytes: d.TextBytes, Counts: d.Counts,
		Peer: &core.Peer{Key: d.Peer, Alias: d.Then.Alias, Tags: d.Then.Tags, Trust: d.Then.Trust, Names: d.Then.Names, URL: d.Then.URL, Offered: d.Then.Offered, Refused: d.Then.Refused}}
	if d.Then.Grants != nil {
		q.Peer.Granted = &core.Bundle{Scopes: d.Then.Grants}
	}
	if q.Counts == nil {
		q.Counts = map[string]int{}
	}
	if d.Message != nil {
		m := *d.Message
		if len(m.Payload) == 0 {
			m.Payload = payload
		}
		q.Message, q.Withheld = &m, len(m.Payload) == 0
	}
	return q
}
