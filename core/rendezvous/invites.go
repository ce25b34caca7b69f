package rendezvous

import (
	"cmp"
	"container/heap"
	"crypto/rand"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

const (
	codeChars    = 6
	codeAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

	minInviteLife = 10 * time.Second
	maxInviteLife = 24 * time.Hour
	maxInviteUses = 1000
)

// invite is a code and where it leads.
type invite struct {
	code      string
	key       core.PublicKey
	addr      netip.Addr
	port      int
	publicURL string
	verified  bool
	record    envelope.Record // of the v2 form; zero for any other
	created   int64           // ms
	expires   int64           // ms
	uses      int             // 0: without limit
	used      int
	dead      bool // revoked; the code is not given out again before it expires
}

func (i *invite) open(now int64) bool {
	return !i.dead && now <= i.expires && (i.uses == 0 || i.used < i.uses)
}

// sig is the record's signature; zero without one.
func (i *invite) sig() [64]byte {
	sig, _ := keys.ParseSignature(i.record.Signature) // it was verified
	return sig
}

// invites holds the codes. Safe for concurrent use.
type invites struct {
	max, perKey, perAddress int
	window                  time.Duration

	mu     sync.Mutex // guards the rest
	byCode map[string]*invite
	byKey  map[core.PublicKey]*inviter
	byAddr map[[16]byte]int
	due    dueHeap
}

// inviter is what is known of a key that invites.
type inviter struct {
	codes  []*invite
	newest int64 // ms: the newest signed time of an invite of this key
	ahead  *ahead
}

// dueItem is a look at a code when it expires, or at a key when its newest text
// is too old to be sent again.
type dueItem struct {
	at   int64 // ms
	code string
	key  core.PublicKey
}

type dueHeap []dueItem

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(dueItem)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func newInvites(limit, perKey, perAddress int, window time.Duration) *invites {
	return &invites{
		max: limit, perKey: perKey, perAddress: perAddress, window: window,
		byCode: map[string]*invite{}, byKey: map[core.PublicKey]*inviter{}, byAddr: map[[16]byte]int{},
	}
}

// add gives an invite a code of 6 characters from the system's randomness. A
// signed text counts once: signedAt must be after the key's last.
//
// Errors are of kind Conflict, RateLimited or Unavailable.
//
// docs/threat-model.md#v4, #v5
func (v *invites) add(i invite, signedAt, now time.Time) (code string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.expire(now)
	from := v.byKey[i.key]
	addr := network(i.addr.As16())
	at, ms := signedAt.UnixMilli(), now.UnixMilli()
	switch {
	case !signedAt.IsZero() && from != nil && (!from.ahead.after(at, from.newest, ms) || from.ahead.full(at, ms)):
		return "", core.Refuse(core.Conflict, "A newer invite is known for this key")
	case from != nil && len(from.codes) >= v.perKey, v.byAddr[addr] >= v.perAddress:
		return "", &core.Error{Kind: core.RateLimited, Public: "Too many invites", RetryAfter: time.Minute}
	case len(v.byCode) >= v.max:
		return "", &core.Error{Kind: core.Unavailable, Public: "The rendezvous is full", RetryAfter: time.Minute}
	}
	for i.code = newCode(); v.byCode[i.code] != nil; i.code = newCode() {
	}
	v.keep(&i)
	if !signedAt.IsZero() {
		from = v.byKey[i.key]
		from.newest, from.ahead = at, from.ahead.took(at, from.newest, ms, v.window)
	}
	return i.code, nil
}

// keep files an invite that has its code.
func (v *invites) keep(i *invite) {
	from := v.byKey[i.key]
	if from == nil {
		from = &inviter{}
		v.byKey[i.key] = from
	}
	v.byCode[i.code] = i
	from.codes = append(from.codes, i)
	v.byAddr[network(i.addr.As16())]++
	heap.Push(&v.due, dueItem{i.expires, i.code, i.key})
}

// newCode draws 6 characters, each equally likely.
func newCode() string {
	code := make([]byte, 0, codeChars)
	for len(code) < codeChars {
		var b [16]byte
		rand.Read(b[:])
		for _, c := range b {
			const fair = 256 - 256%len(codeAlphabet)
			if int(c) < fair && len(code) < codeChars {
				code = append(code, codeAlphabet[int(c)%len(codeAlphabet)])
			}
		}
	}
	return string(code)
}

var errNoInvite = core.Refuse(core.NotFound, "Invite not found or expired")

// get resolves a code; count says whether that is one of its uses. The code is
// not consumed otherwise. Errors are of kind NotFound.
func (v *invites) get(code string, count bool, now time.Time) (invite, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.byCode[code]
	if i == nil || !i.open(now.UnixMilli()) {
		return invite{}, errNoInvite
	}
	if count {
		i.used++
	}
	return *i, nil
}

// list returns a key's open invites, oldest first.
func (v *invites) list(k core.PublicKey, now time.Time) []invite {
	v.mu.Lock()
	defer v.mu.Unlock()
	var open []invite
	if from := v.byKey[k]; from != nil {
		for _, i := range from.codes {
			if i.open(now.UnixMilli()) {
				open = append(open, *i)
			}
		}
	}
	slices.SortFunc(open, func(a, b invite) int { return cmp.Compare(a.created, b.created) })
	return open
}

// revoke ends an invite of the key's own. Errors are of kind NotFound, also for
// another key's code.
func (v *invites) revoke(k core.PublicKey, code string, now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.byCode[code]
	if i == nil || i.key != k || !i.open(now.UnixMilli()) {
		return errNoInvite
	}
	i.dead = true
	return nil
}

// len is how many codes are kept.
func (v *invites) len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.byCode)
}

// advance forgets what has expired.
func (v *invites) advance(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.expire(now)
}

func (v *invites) expire(now time.Time) {
	ms := now.UnixMilli()
	for len(v.due) > 0 && v.due[0].at < ms {
		item := heap.Pop(&v.due).(dueItem)
		from := v.byKey[item.key]
		if i := v.byCode[item.code]; i != nil {
			delete(v.byCode, item.code)
			from.codes = slices.DeleteFunc(from.codes, func(o *invite) bool { return o == i })
			addr := network(i.addr.As16())
			if v.byAddr[addr]--; v.byAddr[addr] <= 0 {
				delete(v.byAddr, addr)
			}
		}
		if from == nil || len(from.codes) > 0 {
			continue
		}
		if until := max(from.newest+v.window.Milliseconds(), from.ahead.until(v.window)); until >= ms {
			heap.Push(&v.due, dueItem{at: until, key: item.key})
			continue
		}
		delete(v.byKey, item.key)
	}
}
