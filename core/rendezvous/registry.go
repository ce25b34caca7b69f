package rendezvous

import (
	"hash/maphash"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// A record takes about 300 bytes, so that a million fit a small machine: the
// entry is one allocation, and a signed text that we can write again from the
// entry's fields is not kept.

const (
	shardCount = 256
	addrShards = 64
	wheelSlots = 128 // seconds; what is due later passes by again
)

// limits bound a registry. All are positive.
type limits struct {
	max        int // entries in all, those that only remember a time included
	perAddress int // live records from one address
	ttl        time.Duration
	window     time.Duration // how far a signed time may lie from ours
}

// registry holds the records. Safe for concurrent use.
type registry struct {
	limits
	seed   maphash.Seed
	shards [shardCount]shard
	addrs  [addrShards]addrShard

	entries atomic.Int64
	live    atomic.Int64

	graceFrom     atomic.Int64 // ms: no record expires before ttl after it
	preserveUntil atomic.Int64 // ms: nothing expires before it
	expired       atomic.Int64 // how many have expired, for the metrics
}

type shard struct {
	mu     sync.RWMutex // guards the rest
	m      map[core.PublicKey]*entry
	ahead  map[core.PublicKey]*ahead // of entries whose clock was ahead; most have none
	wheel  [wheelSlots][]*entry      // by second; each entry is in exactly one slot
	cursor int64                     // the second that was worked off last
	at     atomic.Int64              // cursor, to be read without mu
}

type addrShard struct {
	mu sync.Mutex // guards n
	n  map[[16]byte]int32
}

// state is what an entry stands for.
type state uint8

const (
	alive   state = iota
	expired       // not renewed; kept so that nobody replays an older registration
	gone          // deregistered; kept likewise
)

// form is how a record is signed, the weaker before the stronger, and how its text
// is kept.
type form uint8

const (
	unsigned   form = iota
	formLegacy      // as 0.7 signs: neither text nor signature is kept. docs/threat-model.md#v1
	formOurs        // {"ctx","pubkey","port","publicUrl"?,"timestamp"}
	formText        // any other v2 text: kept whole in extra, after the URL and a NUL
)

// entry is one key's record. Its size is that of an allocation class, 160 bytes.
type entry struct {
	key    core.PublicKey
	addr   [16]byte // of the connection that registered
	sig    [64]byte
	extra  string // the public URL; see formText
	seen   int64  // ms, by our clock
	newest int64  // ms: the newest signed time of this key that we know
	said   int64  // ms: the time in an unsigned registration
	port   uint16
	form   form
	state  state
}

// newRegistry returns an empty registry whose clock stands at now.
func newRegistry(l limits, now time.Time) *registry {
	r := &registry{limits: l, seed: maphash.MakeSeed()}
	for i := range r.shards {
		s := &r.shards[i]
		s.m, s.ahead = map[core.PublicKey]*entry{}, map[core.PublicKey]*ahead{}
		s.cursor = now.Unix()
		s.at.Store(s.cursor)
	}
	for i := range r.addrs {
		r.addrs[i].n = map[[16]byte]int32{}
	}
	return r
}

// shardOf spreads keys by a secret hash: whoever makes keys cannot choose theirs.
func (r *registry) shardOf(k core.PublicKey) *shard {
	return &r.shards[maphash.Bytes(r.seed, k[:])%shardCount]
}

func (e *entry) signed() bool { return e.form != unsigned }

// v2 reports whether the record can be handed on with its signature.
func (e *entry) v2() bool { return e.form > formLegacy }

// due is when the entry next needs a look, in ms.
func (r *registry) due(e *entry) int64 {
	if e.state == alive {
		return max(max(e.seen, r.graceFrom.Load())+r.ttl.Milliseconds(), r.preserveUntil.Load())
	}
	return e.newest + r.window.Milliseconds() + 1
}

// isLive reports whether the record counts at a time, whether or not the wheel
// has come by since.
func (r *registry) isLive(e *entry, now int64) bool { return e.state == alive && now <= r.due(e) }

// candidate is a registration to be put in.
type candidate struct {
	key       core.PublicKey
	addr      netip.Addr
	port      int
	publicURL string
	signed    bool
	record    envelope.Record // of the v2 form; zero for any other
	sentAt    time.Time
}

var errNewer = core.Refuse(core.Conflict, "A newer registration is known for this key")

// outranks says why what is known of a key stays, rather than a registration in the form f that
// was signed at the time at; nil: it gives way. Both times are ms.
func (s *shard) outranks(e *entry, live bool, f form, at, now int64) error {
	switch ahead := s.ahead[e.key]; {
	case live && (f == unsigned && e.signed() || f == formLegacy && e.v2()):
		return core.Refuse(core.Conflict, "A better signed registration is known for this key")
	case f == unsigned && live && at < e.said,
		f != unsigned && (!ahead.after(at, e.newest, now) || ahead.full(at, now)):
		return errNewer
	}
	return nil
}

// put registers or renews. The same signed text again changes nothing, not even
// when it was last seen, as everybody can look it up and send it.
//
// It returns an error of kind Conflict for a registration older than the newest
// that is known and for a weaker one against a live one that is better signed, RateLimited
// when the address has too many records, and Unavailable when the registry is
// full.
//
// docs/threat-model.md#v2, #v5
func (r *registry) put(c candidate, now time.Time) (renewal bool, err error) {
	f, extra := compress(c)
	ms, at := now.UnixMilli(), c.sentAt.UnixMilli()
	s := r.shardOf(c.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[c.key]
	live := e != nil && r.isLive(e, ms)
	if e != nil {
		if f != unsigned && at == e.newest && live && e.form == f && e.extra == extra && e.port == uint16(c.port) {
			return false, nil
		}
		if err := s.outranks(e, live, f, at, ms); err != nil {
			return false, err
		}
	}
	addr := c.addr.As16()
	if counted := e != nil && e.state == alive; !counted || network(e.addr) != network(addr) {
		if err := r.countIn(addr); err != nil {
			return false, err
		}
		if counted {
			r.countOut(e.addr)
		}
	}
	if e == nil {
		if r.entries.Add(1) > int64(r.max) {
			r.entries.Add(-1)
			r.countOut(addr)
			return false, &core.Error{Kind: core.Unavailable, Public: "The rendezvous is full", RetryAfter: r.ttl}
		}
		e = &entry{key: c.key, state: expired}
		s.m[c.key] = e
		defer func() { s.schedule(e, r.due(e)) }()
	}
	if e.state != alive {
		e.state = alive
		r.live.Add(1)
	}
	e.addr, e.port, e.form, e.extra, e.seen = addr, uint16(c.port), f, extra, ms
	if f == unsigned {
		e.said = min(at, ms) // a clock that was ahead may be put right
	} else {
		s.took(e, at, ms, r.window)
		e.said = 0
		e.sig, _ = keys.ParseSignature(c.record.Signature) // it was verified
	}
	return live, nil
}

// took makes a signed time the newest that is known of an entry's key. Called with
// mu held.
func (s *shard) took(e *entry, at, now int64, window time.Duration) {
	a := s.ahead[e.key].took(at, e.newest, now, window)
	if e.newest = at; a != nil {
		s.ahead[e.key] = a
	} else {
		delete(s.ahead, e.key)
	}
}

// found is a record as it is answered: a copy of its entry.
type found struct {
	entry
	ttl time.Duration // how long it has left; 0 when it is only kept by self-preservation
}

// missing is why a key is not found, ready to be answered.
type missing struct {
	err  *core.Error // of kind NotFound
	body []byte
}

func newMissing(text string) *missing {
	return &missing{core.Refuse(core.NotFound, text), []byte(`{"error":"` + text + `"}`)}
}

var (
	errNoPeer  = newMissing("Peer not found")
	errExpired = newMissing("Peer registration expired")
)

// get looks a key up; what is missing is nil when it is found.
func (r *registry) get(k core.PublicKey, now time.Time) (found, *missing) {
	ms := now.UnixMilli()
	s := r.shardOf(k)
	s.mu.RLock()
	e := s.m[k]
	if e == nil || e.state == gone {
		s.mu.RUnlock()
		return found{}, errNoPeer
	}
	if !r.isLive(e, ms) {
		s.mu.RUnlock()
		return found{}, errExpired
	}
	f := found{entry: *e}
	s.mu.RUnlock()
	f.ttl = max(0, time.Duration(f.seen-ms)*time.Millisecond+r.ttl)
	return f, nil
}

// newer reports whether a signed time is after every registration that is
// known of the key.
func (r *registry) newer(k core.PublicKey, at, now time.Time) bool {
	s := r.shardOf(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.m[k]
	return e == nil || s.ahead[k].after(at.UnixMilli(), e.newest, now.UnixMilli())
}

// drop deregisters. With signedAt set the caller has shown a text of the key's,
// signed then; otherwise the record must not be signed in the v2 form and come from
// the address.
// Errors are of kind NotFound, Conflict or Forbidden.
//
// docs/threat-model.md#v3
func (r *registry) drop(k core.PublicKey, from netip.Addr, signedAt, now time.Time) error {
	s := r.shardOf(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[k]
	switch {
	case e == nil || !r.isLive(e, now.UnixMilli()):
		return errNoPeer.err
	case !signedAt.IsZero():
		at, ms := signedAt.UnixMilli(), now.UnixMilli()
		if at != e.newest && !s.ahead[k].after(at, e.newest, ms) {
			return errNewer
		}
		s.took(e, at, ms, r.window)
	case e.v2(): // 0.7 registers signed and deregisters unsigned
		return core.Refuse(core.Forbidden, "Deregistration must be signed")
	case e.addr != from.As16():
		return core.Refuse(core.Forbidden, "Registered from another address")
	}
	r.retire(e, gone)
	return nil
}

// retire ends a live record; the entry stays until nobody can replay it.
func (r *registry) retire(e *entry, to state) {
	e.state, e.extra = to, ""
	r.live.Add(-1)
	r.countOut(e.addr)
}

// countIn counts a live record for an address, in IPv6 for its /64. The error is
// of kind RateLimited.
func (r *registry) countIn(addr [16]byte) error {
	addr = network(addr)
	a := &r.addrs[addrIndex(addr)]
	a.mu.Lock()
	defer a.mu.Unlock()
	if int(a.n[addr]) >= r.perAddress {
		return &core.Error{Kind: core.RateLimited, Public: "Too many registrations from this address", RetryAfter: r.ttl}
	}
	a.n[addr]++
	return nil
}

func (r *registry) countOut(addr [16]byte) {
	addr = network(addr)
	a := &r.addrs[addrIndex(addr)]
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n[addr]--; a.n[addr] <= 0 {
		delete(a.n, addr)
	}
}

// network is the address itself, or the /64 of an IPv6 address.
func network(addr [16]byte) [16]byte {
	if !netip.AddrFrom16(addr).Is4In6() {
		clear(addr[8:])
	}
	return addr
}

func addrIndex(addr [16]byte) int {
	return int(addr[15]^addr[14]^addr[13]^addr[7]^addr[6]) % addrShards
}

// schedule puts an entry where the wheel finds it once it is due, or earlier.
func (s *shard) schedule(e *entry, due int64) {
	second := min(max(due/1000+1, s.cursor+1), s.cursor+wheelSlots-1)
	slot := &s.wheel[second%wheelSlots]
	*slot = append(*slot, e)
}

// lockBatch is how many entries are looked at before a shard's lock is given up
// for a moment, in which whoever waits for it runs: a tenth of a millisecond's
// work. docs/performance.md#rendezvous
const lockBatch = 128

// advance works off what is due. Renewals do not move an entry in the wheel: it
// is looked at once per life and put where it then belongs. One shard is locked
// at a time, and for a batch of entries at a time.
func (r *registry) advance(now time.Time) {
	second, ms := now.Unix(), now.UnixMilli()
	for i := range r.shards {
		s := &r.shards[i]
		if s.at.Load() < second {
			r.advanceShard(s, second, ms)
		}
	}
}

func (r *registry) advanceShard(s *shard, second, ms int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor = max(s.cursor, second-wheelSlots)
	for s.cursor < second {
		s.cursor++
		s.at.Store(s.cursor)
		slot := &s.wheel[s.cursor%wheelSlots]
		due := *slot
		*slot = nil
		for batch := range slices.Chunk(due, lockBatch) {
			r.visit(s, batch, ms)
			s.mu.Unlock()
			runtime.Gosched()
			s.mu.Lock()
		}
	}
}

func (r *registry) visit(s *shard, batch []*entry, now int64) {
	for _, e := range batch {
		if e.state == alive && now > r.due(e) {
			r.retire(e, expired)
			r.expired.Add(1)
		}
		if due := max(r.due(e), s.ahead[e.key].until(r.window)); due >= now {
			s.schedule(e, due)
			continue
		}
		delete(s.m, e.key)
		delete(s.ahead, e.key)
		r.entries.Add(-1)
	}
}

// compress finds the shortest way to keep a candidate's text and URL.
func compress(c candidate) (form, string) {
	text := c.record.PayloadStr
	switch {
	case !c.signed:
		return unsigned, c.publicURL
	case text == "":
		return formLegacy, c.publicURL
	case text == c.text():
		return formOurs, c.publicURL
	}
	return formText, c.publicURL + "\x00" + text
}

func (c candidate) text() string {
	b := make([]byte, 0, 256+len(c.publicURL))
	return string(appendRecordText(b, c.key, c.port, c.publicURL, c.sentAt.UnixMilli()))
}

// publicURL is what the gateway says of itself; empty: nothing.
func (e *entry) publicURL() string {
	if e.form != formText {
		return e.extra
	}
	u, _, _ := strings.Cut(e.extra, "\x00")
	return u
}

// appendText writes the signed text; nothing for a record that is not handed on.
func (e *entry) appendText(b []byte) []byte {
	switch e.form {
	case unsigned, formLegacy:
		return b
	case formText:
		_, text, _ := strings.Cut(e.extra, "\x00")
		return append(b, text...)
	}
	return appendRecordText(b, e.key, int(e.port), e.extra, e.newest)
}
