package valkey

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/valkey-io/valkey-go"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// kept is what of a code does not change.
type kept struct {
	PubKey    string          `json:"pubkey"`
	Addr      string          `json:"addr"`
	Port      int             `json:"port"`
	PublicURL string          `json:"publicUrl,omitempty"`
	Verified  bool            `json:"verified"`
	Record    envelope.Record `json:"record"`
}

// AddCode is Store.AddCode. docs/threat-model.md#v4, #v5
func (s *Store) AddCode(ctx context.Context, c rendezvous.Code, signedAt, _ time.Time) (string, error) {
	value, err := json.Marshal(kept{c.Key.String(), c.Addr.String(), c.Port, c.PublicURL, c.Verified, c.Record})
	if err != nil {
		return "", err
	}
	at := ""
	if !signedAt.IsZero() {
		at = ms(signedAt.UnixMilli())
	}
	l := s.o.Limits
	for {
		text := rendezvous.NewCode()
		word, _, err := s.run(ctx, addCodeScript,
			[]string{s.code(text), s.codesOf(c.Key), s.name("inviters:") + network(c.Addr), s.codes(), s.name("invited:") + string(c.Key[:])},
			[]string{s.given(), text, at, ms(c.Expires - c.Created), strconv.Itoa(l.MaxInvitesPerKey), strconv.Itoa(l.MaxInvitesPerAddress), strconv.Itoa(l.MaxInvites),
				ms(l.Window.Milliseconds()), string(c.Key[:]), strconv.Itoa(c.Uses), string(value)})
		switch {
		case err != nil:
			return "", err
		case word == "ok":
			return text, nil
		case word == "newer":
			return "", rendezvous.ErrNewerInvite
		case word == "many":
			return "", rendezvous.ErrManyInvites
		case word == "full":
			return "", rendezvous.ErrFull(time.Minute)
		case word != "taken" || ctx.Err() != nil:
			return "", away()
		}
	}
}

// Resolve is Store.Resolve: one script takes the use and bounds the wrong ones.
//
// docs/threat-model.md#v4
func (s *Store) Resolve(ctx context.Context, text string, from netip.Addr, count bool, _ time.Time) (rendezvous.Code, error) {
	rate := s.o.Limits.MissRate()
	interval := float64(time.Minute.Milliseconds()) / float64(max(rate.PerMinute, 1))
	word, rest, err := s.run(ctx, resolveScript, []string{s.code(text), s.name("misses:") + network(from), s.name("flood")},
		[]string{s.given(), flag(!from.IsValid() || from.IsLoopback()), fraction(interval), fraction(interval * float64(max(rate.Burst, 1)-1)),
			fraction(float64(time.Minute.Milliseconds()) / float64(max(s.o.Limits.MissesPerMinute, 1))), flag(count)})
	if err != nil {
		return rendezvous.Code{}, err
	}
	switch {
	case word == "wait" && len(rest) == 1:
		wait, _ := rest[0].AsInt64()
		return rendezvous.Code{}, rendezvous.ErrTooMany(time.Duration(wait) * time.Millisecond)
	case word == "ok" && len(rest) == 5:
		if c, ok := s.readCode(text, rest); ok {
			return c, nil
		}
	}
	return rendezvous.Code{}, rendezvous.ErrNoCode
}

// readCode is a code from its value and from uses, used, created and expires.
func (s *Store) readCode(text string, answer []valkey.ValkeyMessage) (rendezvous.Code, bool) {
	c, err := s.codeOf(text, answer)
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		s.odd.do(func() {
			s.o.Logger.Warn("the store has a code that is none of ours, and that nobody is told", "error", err)
		})
	}
	return c, err == nil
}

func (s *Store) codeOf(text string, answer []valkey.ValkeyMessage) (rendezvous.Code, error) {
	var k kept
	value, err := answer[0].ToString()
	if err != nil {
		return rendezvous.Code{}, err
	}
	if err := json.Unmarshal([]byte(value), &k); err != nil {
		return rendezvous.Code{}, err
	}
	key, err := keys.ParseStored(k.PubKey)
	if err != nil {
		return rendezvous.Code{}, err
	}
	addr, err := netip.ParseAddr(k.Addr)
	if err != nil {
		return rendezvous.Code{}, err
	}
	var n [4]int64
	for i := range n {
		if n[i], err = answer[i+1].AsInt64(); err != nil {
			return rendezvous.Code{}, err
		}
	}
	if k.Port < 0 || k.Port > 65535 {
		return rendezvous.Code{}, errValue
	}
	var ahead int64 // of the engine's clock, in which the script counts
	if s.o.Now == nil {
		ahead = s.offset.Load() / int64(time.Millisecond)
	}
	return rendezvous.Code{Text: text, Key: key, Addr: addr, Port: k.Port, PublicURL: k.PublicURL, Verified: k.Verified, Record: k.Record,
		Uses: int(n[0]), Used: int(n[1]), Created: n[2] - ahead, Expires: n[3] - ahead}, nil
}

// Codes is Store.Codes.
func (s *Store) Codes(ctx context.Context, k core.PublicKey, _ time.Time) ([]rendezvous.Code, error) {
	var all []valkey.ValkeyMessage
	err := s.link.do(ctx, func(ctx context.Context, c valkey.Client) (err error) {
		all, err = codesScript.Exec(ctx, c, []string{s.codesOf(k)}, []string{s.given(), s.code(""), string(k[:])}).ToArray()
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []rendezvous.Code
	for _, one := range all {
		answer, err := one.ToArray()
		if err != nil || len(answer) != 6 {
			continue
		}
		text, err := answer[0].ToString()
		if err != nil {
			continue
		}
		if c, ok := s.readCode(text, answer[1:]); ok && c.Key == k {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b rendezvous.Code) int { return cmp.Compare(a.Created, b.Created) })
	return out, nil
}

// Revoke is Store.Revoke.
func (s *Store) Revoke(ctx context.Context, k core.PublicKey, text string, _ time.Time) error {
	word, _, err := s.run(ctx, revokeScript, []string{s.code(text)}, []string{s.given(), string(k[:])})
	if err != nil || word == "ok" {
		return err
	}
	return rendezvous.ErrNoCode
}
