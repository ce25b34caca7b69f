package rendezvous

import (
	"cmp"
	"container/heap"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	codeChars    = 6
	codeAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

	minInviteLife = 10 * time.Second
	maxInviteLife = 24 * time.Hour
	maxInviteUses = 1000
)

// invite is a code as it is kept.
type invite struct {
	Code
	dead bool // revoked; the code is not given out again before it expires
}

func (i *invite) open(now int64) bool {
	return !i.dead && now <= i.Expires && (i.Uses == 0 || i.Used < i.Uses)
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

// add is Store.AddCode.
//
// docs/threat-model.md#v4, #v5
func (v *invites) add(c Code, signedAt, now time.Time) (code string, err error) {
	i := invite{Code: c}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.expire(now)
	from := v.byKey[i.Key]
	addr := network(i.Addr.As16())
	at, ms := signedAt.UnixMilli(), now.UnixMilli()
	switch {
	case !signedAt.IsZero() && from != nil && (!from.ahead.after(at, from.newest, ms) || from.ahead.full(at, ms)):
		return "", ErrNewerInvite
	case from != nil && len(from.codes) >= v.perKey, v.byAddr[addr] >= v.perAddress:
		return "", ErrManyInvites
	case len(v.byCode) >= v.max:
		return "", ErrFull(time.Minute)
	}
	for i.Text = newCode(); v.byCode[i.Text] != nil; i.Text = newCode() {
	}
	v.keep(&i)
	if !signedAt.IsZero() {
		from = v.byKey[i.Key]
		from.newest, from.ahead = at, from.ahead.took(at, from.newest, ms, v.window)
	}
	return i.Text, nil
}

// keep files an invite that has its code.
func (v *invites) keep(i *invite) {
	from := v.byKey[i.Key]
	if from == nil {
		from = &inviter{}
		v.byKey[i.Key] = from
	}
	v.byCode[i.Text] = i
	from.codes = append(from.codes, i)
	v.byAddr[network(i.Addr.As16())]++
	heap.Push(&v.due, dueItem{i.Expires, i.Text, i.Key})
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

// get resolves a code; count says whether that is one of its uses. The code is
// not consumed otherwise. Errors are of kind NotFound.
func (v *invites) get(code string, count bool, now time.Time) (Code, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.byCode[code]
	if i == nil || !i.open(now.UnixMilli()) {
		return Code{}, ErrNoCode
	}
	if count {
		i.Used++
	}
	return i.Code, nil
}

// list returns a key's open invites, oldest first.
func (v *invites) list(k core.PublicKey, now time.Time) []Code {
	v.mu.Lock()
	defer v.mu.Unlock()
	var open []Code
	if from := v.byKey[k]; from != nil {
		for _, i := range from.codes {
			if i.open(now.UnixMilli()) {
				open = append(open, i.Code)
			}
		}
	}
	slices.SortFunc(open, func(a, b Code) int { return cmp.Compare(a.Created, b.Created) })
	return open
}

// revoke is Store.Revoke.
func (v *invites) revoke(k core.PublicKey, code string, now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.byCode[code]
	if i == nil || i.Key != k || !i.open(now.UnixMilli()) {
		return ErrNoCode
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
			addr := network(i.Addr.As16())
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
