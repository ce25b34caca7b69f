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
	long    atomic.Int64 // of live, those that have asked for a longer life

	renewed, dropped atomic.Int64 // of the others

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
	life   uint32 // s: the longer one that was asked for and granted; 0: the ordinary one
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

// life is how long a record lives without renewal.
func (r *registry) life(e *entry) time.Duration {
	if e.life > 0 {
		return time.Duration(e.life) * time.Second
	}
	return r.ttl
}

// due is when the entry next needs a look, in ms.
func (r *registry) due(e *entry) int64 {
	if e.state == alive {
		return max(max(e.seen, r.graceFrom.Load())+r.life(e).Milliseconds(), r.preserveUntil.Load())
	}
	return e.newest + r.window.Milliseconds() + 1
}

// isLive reports whether the record counts at a time, whether or not the wheel
// has come by since.
func (r *registry) isLive(e *entry, now int64) bool { return e.state == alive && now <= r.due(e) }

// outranks says why what is known of a key stays, rather than a registration in the form f that
// was signed at the time at; nil: it gives way. Both times are ms.
func (s *shard) outranks(e *entry, live bool, f form, at, now int64) error {
	switch ahead := s.ahead[e.key]; {
	case live && (f == unsigned && e.signed() || f == formLegacy && e.v2()):
		return ErrBetterSigned
	case f == unsigned && live && at < e.said,
		f != unsigned && (!ahead.after(at, e.newest, now) || ahead.full(at, now)):
		return ErrNewer
	}
	return nil
}

// put is Store.Put.
//
// docs/threat-model.md#v2, #v5
func (r *registry) put(c Registration, now time.Time) (renewal bool, err error) {
	f, extra := compress(c)
	ms, at := now.UnixMilli(), c.SentAt.UnixMilli()
	s := r.shardOf(c.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[c.Key]
	live := e != nil && r.isLive(e, ms)
	if e != nil {
		if f != unsigned && at == e.newest && live && e.form == f && e.extra == extra && e.port == uint16(c.Port) {
			return false, nil
		}
		if err := s.outranks(e, live, f, at, ms); err != nil {
			return false, err
		}
	}
	addr := c.Addr.As16()
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
			return false, ErrFull(r.ttl)
		}
		e = &entry{key: c.Key, state: expired}
		s.m[c.Key] = e
		defer func() { s.schedule(e, r.due(e)) }()
	}
	r.enliven(e, live, c.MaxAge)
	e.addr, e.port, e.form, e.extra, e.seen = addr, uint16(c.Port), f, extra, ms
	if f == unsigned {
		e.said = min(at, ms) // a clock that was ahead may be put right
	} else {
		s.took(e, at, ms, r.window)
		e.said = 0
		e.sig, _ = keys.ParseSignature(c.Record.Signature) // it was verified
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
func (r *registry) get(k core.PublicKey, now time.Time) (Kept, *missing) {
	ms := now.UnixMilli()
	s := r.shardOf(k)
	s.mu.RLock()
	e := s.m[k]
	if e == nil || e.state == gone {
		s.mu.RUnlock()
		return Kept{}, errNoPeer
	}
	if !r.isLive(e, ms) {
		s.mu.RUnlock()
		return Kept{}, errExpired
	}
	f := Kept{entry: *e}
	s.mu.RUnlock()
	f.ttl = max(0, time.Duration(f.seen-ms)*time.Millisecond+r.life(&f.entry))
	return f, nil
}

// newer is Store.Newer.
func (r *registry) newer(k core.PublicKey, at, now time.Time) bool {
	s := r.shardOf(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.m[k]
	return e == nil || s.ahead[k].after(at.UnixMilli(), e.newest, now.UnixMilli())
}

// drop is Store.Drop.
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
			return ErrNewer
		}
		s.took(e, at, ms, r.window)
	case e.v2(): // 0.7 registers signed and deregisters unsigned
		return ErrMustBeSigned
	case e.addr != from.As16():
		return ErrOtherAddress
	}
	if e.life == 0 {
		r.dropped.Add(1)
	}
	r.retire(e, gone)
	return nil
}

// enliven counts a registration that was taken; live says that it renews one.
func (r *registry) enliven(e *entry, live bool, maxAge time.Duration) {
	if e.state == alive {
		r.count(e, -1)
	}
	e.state, e.life = alive, uint32(maxAge/time.Second)
	r.count(e, 1)
	if live && e.life == 0 {
		r.renewed.Add(1)
	}
}

// retire ends a live record; the entry stays until nobody can replay it.
func (r *registry) retire(e *entry, to state) {
	r.count(e, -1)
	e.state, e.extra = to, ""
	r.countOut(e.addr)
}

// count counts a record that has come to live, or has ceased to.
func (r *registry) count(e *entry, n int64) {
	r.live.Add(n)
	if e.life > 0 {
		r.long.Add(n)
	}
}

// countIn counts a live record for an address, in IPv6 for its /64. The error is
// of kind RateLimited.
func (r *registry) countIn(addr [16]byte) error {
	addr = network(addr)
	a := &r.addrs[addrIndex(addr)]
	a.mu.Lock()
	defer a.mu.Unlock()
	if int(a.n[addr]) >= r.perAddress {
		return ErrCrowded(r.ttl)
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

// compress finds the shortest way to keep a registration's text and URL.
func compress(c Registration) (form, string) {
	text := c.Record.PayloadStr
	switch {
	case !c.Signed:
		return unsigned, c.PublicURL
	case text == "":
		return formLegacy, c.PublicURL
	case text == c.Text():
		return formOurs, c.PublicURL
	}
	return formText, c.PublicURL + "\x00" + text
}

// Text is the text that a gateway of ours signs for it.
func (c Registration) Text() string {
	b := make([]byte, 0, 256+len(c.PublicURL))
	return string(appendRecordText(b, c.Key, c.Port, c.PublicURL, uint32(c.MaxAge/time.Second), c.SentAt.UnixMilli()))
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
	return appendRecordText(b, e.key, int(e.port), e.extra, e.life, e.newest)
}
