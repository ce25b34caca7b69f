package valkey

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

const (
	maxValueBytes = 8 << 10     // as the scripts read
	cachedFor     = time.Minute // a looked-up record, unless the engine says that it has changed
	expireAtOnce  = 128         // about a millisecond of the engine
	expireRounds  = 50
)

// run runs a script and reads its answer's first word.
func (s *Store) run(ctx context.Context, script *valkey.Lua, keys, args []string) (word string, rest []valkey.ValkeyMessage, err error) {
	err = s.link.do(ctx, func(ctx context.Context, c valkey.Client) error {
		out, err := script.Exec(ctx, c, keys, args).ToArray()
		if err != nil {
			return err
		}
		if len(out) == 0 {
			return oddAnswer("script", out)
		}
		word, err = out[0].ToString()
		rest = out[1:]
		return err
	})
	return word, rest, err
}

// Put is Store.Put. docs/threat-model.md#v2, #v5
func (s *Store) Put(ctx context.Context, r rendezvous.Registration, _ time.Time) (bool, error) {
	l, p := s.o.Limits, r.Pack()
	defer s.fresh.add(r.Key)
	sig := ""
	if p.Form >= rendezvous.FormOurs {
		sig = string(p.Sig[:])
	}
	word, rest, err := s.run(ctx, putScript,
		[]string{s.record(r.Key), s.brief(), s.long(), s.dead(), s.holdName(), s.counters(), s.ofAddress() + network(r.Addr)},
		[]string{s.given(), string(r.Key[:]), strconv.Itoa(p.Form), ms(r.SentAt.UnixMilli()), strconv.Itoa(r.Port), address(r.Addr),
			ms(r.MaxAge.Milliseconds()), ms(l.TTL.Milliseconds()), ms(l.Window.Milliseconds()), strconv.Itoa(l.MaxPeers), strconv.Itoa(l.MaxPerAddress),
			sig, p.Extra, s.ofAddress()})
	if err != nil {
		return false, err
	}
	switch word {
	case "ok":
		renewed := int64(0)
		if len(rest) > 0 {
			renewed, _ = rest[0].AsInt64()
		}
		return renewed == 1, nil
	case "same":
		return false, nil
	case "crowded":
		return false, rendezvous.ErrCrowded(l.TTL)
	case "full":
		return false, rendezvous.ErrFull(l.TTL)
	}
	return false, s.refusal(word)
}

// refusals are the scripts' words.
var refusals = map[string]error{
	"better":  rendezvous.ErrBetterSigned,
	"newer":   rendezvous.ErrNewer,
	"none":    rendezvous.ErrNoPeer,
	"signed":  rendezvous.ErrMustBeSigned,
	"address": rendezvous.ErrOtherAddress,
}

func (s *Store) refusal(word string) error {
	if err := refusals[word]; err != nil {
		return err
	}
	return away()
}

// Get is Store.Get. What the engine tells of is verified before it is handed on; the
// connection keeps what it has read until the engine says that it has changed.
func (s *Store) Get(ctx context.Context, k core.PublicKey, _ time.Time) (rendezvous.Kept, error) {
	var text string
	err := s.link.do(ctx, func(ctx context.Context, c valkey.Client) (err error) {
		if s.fresh.has(k, time.Now()) {
			text, err = c.Do(ctx, c.B().Getrange().Key(s.record(k)).Start(0).End(maxValueBytes-1).Build()).ToString()
		} else {
			text, err = c.DoCache(ctx, c.B().Getrange().Key(s.record(k)).Start(0).End(maxValueBytes-1).Cache(), cachedFor).ToString()
			if err != nil && troubleOf(err).full { // a full engine takes no transaction, which this is
				text, err = c.Do(ctx, c.B().Getrange().Key(s.record(k)).Start(0).End(maxValueBytes-1).Build()).ToString()
			}
		}
		return strange(&text, err)
	})
	if err != nil {
		return rendezvous.Kept{}, err
	}
	if text == "" {
		return rendezvous.Kept{}, rendezvous.ErrNoPeer
	}
	v, err := s.read(k, text)
	switch {
	case err != nil:
		s.odd.do(func() {
			s.o.Logger.Warn("the store has a record that is none of ours, and that nobody is told", "key", k.ID(), "error", err, "hint", "who else writes to "+s.o.At.String()+"?")
		})
		return rendezvous.Kept{}, rendezvous.ErrNoPeer
	case v.gone:
		return rendezvous.Kept{}, rendezvous.ErrNoPeer
	}
	now := s.now()
	if now > max(v.due, s.hold.Load()) {
		return rendezvous.Kept{}, rendezvous.ErrPeerExpired
	}
	return rendezvous.Unpack(v.Registration, v.packed, time.UnixMilli(v.seen), time.Duration(v.due-now)*time.Millisecond), nil
}

// strange takes a value of another type, which somebody else has written, for none.
func strange(text *string, err error) error {
	if said, ok := errors.AsType[*valkey.ValkeyError](err); ok && strings.HasPrefix(said.Error(), "WRONGTYPE") {
		*text = ""
		return nil
	}
	return err
}

// value is a record as the scripts write it; lua/prelude.lua has its form.
type value struct {
	rendezvous.Registration
	packed    rendezvous.Packed
	gone      bool
	seen, due int64 // ms
	ahead     []int64
}

var errValue = errors.New("valkey: a record of another form")

// read parses a record and verifies it, unless the very same was verified before.
func (s *Store) read(k core.PublicKey, text string) (value, error) {
	v, err := s.parse(k, text)
	if err != nil || v.gone {
		return v, err
	}
	sum := sha256.Sum256(append(k[:], text...))
	if s.checked.has(sum) {
		return v, nil
	}
	if err := rendezvous.Unpack(v.Registration, v.packed, time.UnixMilli(v.seen), 0).Check(); err != nil {
		return v, err
	}
	s.checked.add(sum)
	return v, nil
}

func (s *Store) parse(k core.PublicKey, text string) (value, error) {
	line, tail, ok := strings.Cut(text, "\n")
	f := strings.Split(line, " ")
	if !ok || len(f) != 10 || f[0] != "1" || len(text) >= maxValueBytes {
		return value{}, errValue
	}
	n, err := integers(f[1:8]) // form, state, newest, said, seen, life, port
	if err != nil {
		return value{}, err
	}
	addr, err := hex.DecodeString(f[8])
	if err != nil || len(addr) != 16 || n[0] > int64(rendezvous.FormText) || n[5] > longestLife || n[6] > 65535 || n[4] > s.now()+2*s.o.Limits.Window.Milliseconds() {
		return value{}, errValue
	}
	v := value{gone: n[1] != 0, seen: n[4], due: n[4] + n[5]}
	if n[5] == 0 {
		v.due += s.o.Limits.TTL.Milliseconds()
	}
	v.Registration = rendezvous.Registration{Key: k, Addr: netip.AddrFrom16([16]byte(addr)).Unmap(), Port: int(n[6]),
		Signed: n[0] > int64(rendezvous.FormUnsigned), SentAt: time.UnixMilli(n[2]), MaxAge: time.Duration(n[5]) * time.Millisecond}
	v.packed = rendezvous.Packed{Form: int(n[0]), Extra: tail}
	if v.packed.Form >= rendezvous.FormOurs && !v.gone {
		if len(tail) < len(v.packed.Sig) {
			return value{}, errValue
		}
		v.packed.Extra = tail[copy(v.packed.Sig[:], tail):]
	}
	if f[9] != "-" {
		v.ahead, err = integers(strings.Split(f[9], ","))
	}
	return v, err
}

const longestLife = 24 * 60 * 60 * 1000 // ms

// integers reads numbers that are not negative.
func integers(texts []string) ([]int64, error) {
	out := make([]int64, len(texts))
	for i, text := range texts {
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return nil, errValue
		}
		out[i] = int64(n)
	}
	return out, nil
}

// checked remembers what was verified, by SHA-256: the newest of each slot.
type checked struct {
	slots [1 << 14]atomic.Pointer[[32]byte]
}

func (c *checked) slot(sum [32]byte) *atomic.Pointer[[32]byte] {
	return &c.slots[(int(sum[0])<<8|int(sum[1]))%len(c.slots)]
}

func (c *checked) has(sum [32]byte) bool {
	p := c.slot(sum).Load()
	return p != nil && *p == sum
}

func (c *checked) add(sum [32]byte) { c.slot(sum).Store(&sum) }

// fresh remembers the keys that this server has just written. A lookup of one goes to the
// engine, as its word that the record has changed may be on its way to us.
type fresh struct{ slots [1 << 16]atomic.Int64 }

// freshFor is far above the time that word takes.
const freshFor = 250 * time.Millisecond

func (f *fresh) slot(k core.PublicKey) *atomic.Int64 {
	return &f.slots[int(k[30])<<8|int(k[31])]
}

func (f *fresh) add(k core.PublicKey) { f.slot(k).Store(time.Now().UnixNano()) }

func (f *fresh) has(k core.PublicKey, now time.Time) bool {
	return now.UnixNano()-f.slot(k).Load() < int64(freshFor)
}

// Drop is Store.Drop. docs/threat-model.md#v3
func (s *Store) Drop(ctx context.Context, k core.PublicKey, from netip.Addr, signedAt, _ time.Time) error {
	at := ""
	if !signedAt.IsZero() {
		at = ms(signedAt.UnixMilli())
	}
	l := s.o.Limits
	defer s.fresh.add(k)
	word, _, err := s.run(ctx, dropScript, []string{s.record(k), s.brief(), s.long(), s.dead(), s.holdName(), s.counters()},
		[]string{s.given(), string(k[:]), at, address(from), ms(l.TTL.Milliseconds()), ms(l.Window.Milliseconds()), s.ofAddress()})
	if err != nil || word == "ok" {
		return err
	}
	return s.refusal(word)
}

// Newer is Store.Newer. It asks the engine itself.
func (s *Store) Newer(ctx context.Context, k core.PublicKey, at, _ time.Time) (bool, error) {
	var text string
	err := s.link.do(ctx, func(ctx context.Context, c valkey.Client) (err error) {
		text, err = c.Do(ctx, c.B().Getrange().Key(s.record(k)).Start(0).End(maxValueBytes-1).Build()).ToString()
		return strange(&text, err)
	})
	if err != nil {
		return false, err
	}
	v, err := s.parse(k, text)
	if err != nil {
		return true, nil // none of ours, or none
	}
	return rendezvous.After(v.ahead, at.UnixMilli(), v.SentAt.UnixMilli(), s.now()), nil
}

// Counts is Store.Counts. It also learns the engine's clock, and until when nothing
// expires.
func (s *Store) Counts(ctx context.Context, _ time.Time) (rendezvous.Counts, error) {
	var n []int64
	began := time.Now()
	err := s.link.do(ctx, func(ctx context.Context, c valkey.Client) (err error) {
		n, err = countsScript.Exec(ctx, c, []string{s.brief(), s.long(), s.dead(), s.holdName(), s.counters(), s.codes()}, []string{s.given()}).AsIntSlice()
		if err == nil && len(n) != 9 {
			err = oddAnswer("counts", n)
		}
		return err
	})
	if err != nil {
		return rendezvous.Counts{}, err
	}
	middle := began.Add(time.Since(began) / 2)
	s.offset.Store(int64(time.UnixMilli(n[0]).Sub(middle)))
	s.hold.Store(n[1])
	return rendezvous.Counts{HoldUntil: time.UnixMilli(n[1]), Live: n[2] + n[3], Brief: n[2], Entries: n[2] + n[3] + n[4], Codes: n[5],
		Expired: n[6], Renewed: n[7], Dropped: n[8]}, nil
}

// Hold is Store.Hold.
func (s *Store) Hold(ctx context.Context, until time.Time) error {
	at := until.UnixMilli()
	if s.o.Now == nil {
		at += s.offset.Load() / int64(time.Millisecond)
	}
	err := s.link.do(ctx, func(ctx context.Context, c valkey.Client) error {
		return holdScript.Exec(ctx, c, []string{s.holdName()}, []string{ms(at), ms((10 * time.Minute).Milliseconds())}).Error()
	})
	if err == nil {
		s.hold.Store(max(s.hold.Load(), at))
	}
	return err
}

// Expire is Store.Expire. Every server does it; what one has done is done.
func (s *Store) Expire(ctx context.Context, _ time.Time) error {
	for range expireRounds {
		var n int64
		err := s.link.do(ctx, func(ctx context.Context, c valkey.Client) (err error) {
			n, err = expireScript.Exec(ctx, c, []string{s.brief(), s.long(), s.dead(), s.holdName(), s.counters(), s.codes()},
				[]string{s.given(), ms(s.o.Limits.TTL.Milliseconds()), ms(s.o.Limits.Window.Milliseconds()), s.name("record:"), s.ofAddress(), strconv.Itoa(expireAtOnce)}).AsInt64()
			return err
		})
		if err != nil || n < expireAtOnce {
			return err
		}
	}
	return nil
}

// address is 32 hex characters, as the scripts know addresses; all zero for none, which
// a request over a Unix socket has.
func address(a netip.Addr) string {
	var b [16]byte
	if a.IsValid() {
		b = a.As16()
	}
	return hex.EncodeToString(b[:])
}

func network(a netip.Addr) string {
	var b [16]byte
	if a.IsValid() {
		b = rendezvous.Network(a)
	}
	return hex.EncodeToString(b[:])
}
