package rendezvous

import (
	"context"
	"encoding/hex"
	"errors"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gate"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/web"
)

const (
	missesPerAddress  = 5   // a minute. docs/threat-model.md#v4
	maxPublicURLBytes = 512 // of a publicUrl
)

// Server is a rendezvous. Safe for concurrent use.
type Server struct {
	opts     ServerOptions
	app      *web.App
	opener   *envelope.Opener
	store    Store
	memory   *memory // the store, where it is our own; else nil
	metrics  *metrics
	preserve preservation // of Serve's goroutine alone
}

// NewServer returns a Server that remembers nobody but whom its Store does; Serve
// reads the snapshot.
func NewServer(o ServerOptions) *Server {
	o.fill()
	s := &Server{opts: o, store: o.Store}
	if s.store == nil {
		s.memory = newMemory(o.Limits(), o.Now())
		s.store = s.memory
	}
	s.opener = &envelope.Opener{Near: s.near}
	s.metrics = newMetrics(s.store, o.Now)
	s.preserve = preservation{interval: o.Reannounce, least: int64(o.PreserveFrom)}

	s.app = web.New(web.Options{Name: "rendezvous", Logger: o.Logger, TrustedProxies: o.TrustedProxies})
	f := s.app.Fiber
	f.Get(pathRoot, s.counting(s.root))
	f.Get(pathHealth, s.health)
	f.Get(pathReady, s.counting(s.ready))
	f.Post(pathRegister, s.counting(s.register))
	f.Get(pathPeer+":pubkey", s.counting(s.lookup))
	f.Delete(pathPeer+":pubkey", s.counting(s.deregister))
	f.Post(pathInvite, s.counting(s.invite))
	f.Post(pathInvites, s.counting(s.list))
	f.Get(pathToken+":token", s.counting(s.resolve))
	f.Delete(pathToken+":token", s.counting(s.revoke))
	return s
}

func (s *Server) near(at time.Time) error {
	if d := s.opts.Now().Sub(at).Abs(); d > s.opts.Window {
		return core.Refusef(core.Stale, "rendezvous: stale: sent %v from now, window %v", d, s.opts.Window)
	}
	return nil
}

// Serve reads the snapshot, answers on ln until ctx is done, and writes the
// snapshot. It closes ln. A snapshot that cannot be read is logged and left
// behind: clients come back within half a minute.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if err := s.load(); err != nil {
		s.opts.Logger.Warn("snapshot not read", "file", s.opts.Snapshot, "error", err)
	}
	keeping, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		s.keep(keeping)
	}()
	err := s.app.Serve(ctx, ln)
	stop()
	<-kept
	return errors.Join(err, s.save())
}

// ServeMetrics answers /metrics and /healthz on ln until ctx is done. It closes
// ln, which should not be reachable from outside.
func (s *Server) ServeMetrics(ctx context.Context, ln net.Listener) error {
	app := web.New(web.Options{Name: "rendezvous metrics", Logger: s.opts.Logger, MaxConns: gate.Local(), OwnHost: web.OwnHost(ln.Addr().String())})
	app.Get(pathMetrics, promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	app.Fiber.Get(pathHealth, s.health)
	return app.Serve(ctx, ln)
}

// keep does what time asks for: expiry each second, snapshots.
func (s *Server) keep(ctx context.Context) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	snapshot := time.NewTicker(s.opts.SnapshotEvery)
	defer snapshot.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-second.C:
			s.Tick(ctx, s.opts.Now())
		case <-snapshot.C:
			if err := s.save(); err != nil {
				s.opts.Logger.Error("snapshot not written", "file", s.opts.Snapshot, "error", err)
			}
		}
	}
}

// Tick does what a second asks for, which Serve calls: it judges whether too few
// renewals come, and lets expire what is over. While the store is away nothing is due.
func (s *Server) Tick(ctx context.Context, now time.Time) {
	c, err := s.store.Counts(ctx, now)
	if err != nil {
		return // the store has said so
	}
	if until := s.preserve.tick(now, c); !until.IsZero() {
		if s.store.Hold(ctx, until) != nil {
			return
		}
		if !c.HoldUntil.After(now) {
			s.opts.Logger.Warn("too few renewals: nothing expires for a while", "until", until, "records", c.Live)
		}
	}
	_ = s.store.Expire(ctx, now) // the store has said so, and the next second comes
}

// counting counts refusals by reason.
func (s *Server) counting(h fiber.Handler) fiber.Handler {
	return func(c *fiber.Ctx) error {
		err := h(c)
		if e, ok := errors.AsType[*core.Error](err); ok {
			s.metrics.refused(e.Kind)
		}
		return err
	}
}

// admit counts a request against its address's limit.
//
// docs/threat-model.md#n4
func (s *Server) admit(c *fiber.Ctx, b Budget) (netip.Addr, error) {
	from := web.ClientIP(c)
	return from, s.store.Admit(c.UserContext(), b, from, s.opts.Now())
}

func tooMany(after time.Duration) error {
	return &core.Error{Kind: core.RateLimited, Public: "Too many requests", RetryAfter: after}
}

func (s *Server) root(c *fiber.Ctx) error {
	if _, err := s.admit(c, BudgetReads); err != nil {
		return err
	}
	now := s.opts.Now()
	if err := s.store.Expire(c.UserContext(), now); err != nil { // so that only live records count
		return err
	}
	counts, err := s.store.Counts(c.UserContext(), now)
	if err != nil {
		return err
	}
	return web.JSON(c, fiber.StatusOK, struct {
		OK    bool  `json:"ok"`
		Peers int64 `json:"peers"`
	}{true, counts.Live})
}

func (s *Server) health(c *fiber.Ctx) error {
	web.Raw(c, fiber.StatusOK, []byte(`{"ok":true}`))
	return nil
}

// ready is what a load balancer asks: whether this server can do its work.
func (s *Server) ready(c *fiber.Ctx) error {
	if _, err := s.admit(c, BudgetReads); err != nil {
		return err
	}
	if _, err := s.store.Counts(c.UserContext(), s.opts.Now()); err != nil {
		return err
	}
	return s.health(c)
}

func (s *Server) register(c *fiber.Ctx) error {
	from, err := s.admit(c, BudgetPosts)
	if err != nil {
		return err
	}
	h, err := s.opener.OpenHints(web.Body(c), envelope.PurposeRegister, !s.opts.RequireSigned)
	if err != nil {
		return err
	}
	if err := checkPublicURL(h.Value.PublicURL); err != nil {
		return err
	}
	maxAge, err := s.maxAge(h)
	if err != nil {
		return err
	}
	renewal, err := s.store.Put(c.UserContext(), Registration{
		Key: h.Key, Addr: from, Port: h.Value.Port, PublicURL: h.Value.PublicURL, Signed: !h.Unsigned, Record: h.Record, SentAt: h.SentAt, MaxAge: maxAge,
	}, s.opts.Now())
	if err != nil {
		return err
	}
	s.metrics.registrations[!h.Unsigned].Inc()
	if renewal {
		s.metrics.renewals.Inc()
	}
	answer := registered{OK: true, YourIP: from.String(), TTL: seconds(s.opts.TTL), ReannounceAfter: spread(s.opts.Reannounce), MaxAge: seconds(s.opts.MaxAge)}
	if maxAge > 0 {
		answer.TTL, answer.ReannounceAfter = seconds(maxAge), spread(maxAge/4)
	}
	return web.JSON(c, fiber.StatusOK, answer)
}

// maxAge is the life that a registration asks for, as far as this server grants it; 0:
// the ordinary one. Only what is signed in the v2 form can ask.
func (s *Server) maxAge(h envelope.OpenedHints) (time.Duration, error) {
	asked := h.Value.MaxAge
	if asked < 0 || asked > seconds(maxMaxAge) {
		return 0, core.Refusef(core.Malformed, "maxAge must be a number (1-%d)", seconds(maxMaxAge))
	}
	granted := min(time.Duration(asked)*time.Second, s.opts.MaxAge)
	if !h.V2 || granted <= s.opts.TTL {
		return 0, nil
	}
	return granted, nil
}

// maxMaxAge bounds the life that a record may ask for.
const maxMaxAge = 24 * time.Hour

// registered answers a registration. docs/rendezvous.md#register
type registered struct {
	OK              bool   `json:"ok"`
	YourIP          string `json:"yourIp"`
	TTL             int    `json:"ttl"`             // seconds
	ReannounceAfter int    `json:"reannounceAfter"` // seconds
	MaxAge          int    `json:"maxAge,omitzero"` // seconds: the longest life that may be asked for; 0: none
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// spread is d in seconds within a tenth either way, so that clients that came
// together part.
func spread(d time.Duration) int { return max(1, seconds(d-d/10+mathrand.N(2*(d/10)+1))) }

// checkPublicURL refuses what is no place to send envelopes to, and what could
// not be kept.
func checkPublicURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || len(text) > maxPublicURLBytes {
		return core.Refuse(core.Malformed, "publicUrl must be an http or https URL")
	}
	return nil
}

// keyParam reads the key in a path. What is no key is nobody's: 404 as in the
// field, and as cheap as a key that is not known. The key's soundness was asked
// when it registered.
func keyParam(c *fiber.Ctx) (core.PublicKey, bool) {
	text := strings.ToLower(c.Params("pubkey"))
	if len(text) == 64 {
		text = core.SPKIPrefix + text
	}
	k, err := keys.ParseStored(text)
	return k, err == nil
}

func (s *Server) lookup(c *fiber.Ctx) error {
	if _, err := s.admit(c, BudgetReads); err != nil {
		return err
	}
	k, ok := keyParam(c)
	f, err := Kept{}, ErrNoPeer
	if ok {
		f, err = s.store.Get(c.UserContext(), k, s.opts.Now())
	}
	if err != nil {
		return s.notFound(c, err)
	}
	s.metrics.lookups.Inc()
	scratch := scratches.Get().(*[2][]byte)
	defer scratches.Put(scratch)
	text := f.appendText(scratch[0][:0])
	b := append(scratch[1][:0], `{"pubkey":"`...)
	b = appendKey(b, k)
	b = append(b, `","ip":"`...)
	b = netip.AddrFrom16(f.addr).Unmap().AppendTo(b)
	b = append(b, `","port":`...)
	b = strconv.AppendInt(b, int64(f.port), 10)
	b = append(b, `,"lastSeen":`...)
	b = strconv.AppendInt(b, f.seen, 10)
	b = appendProof(b, f.publicURL(), f.signed(), text, f.sig)
	b = append(b, `,"ttl":`...)
	b = strconv.AppendInt(b, int64(seconds(f.ttl)), 10)
	b = append(b, '}')
	scratch[0], scratch[1] = text, b
	web.Copy(c, fiber.StatusOK, b)
	return nil
}

// notFound answers for a key that is not there: no refusal, and no dearer than a hit.
//
// docs/threat-model.md#v5
func (s *Server) notFound(c *fiber.Ctx, err error) error {
	for _, m := range []*missing{errNoPeer, errExpired} {
		if err == error(m.err) {
			s.metrics.misses.Inc()
			web.Raw(c, fiber.StatusNotFound, m.body)
			return nil
		}
	}
	return err
}

// scratches are buffers for a text and for the answer around it.
var scratches = sync.Pool{New: func() any { return new([2][]byte) }}

// appendProof writes the members that let a client check an answer. An empty text
// is not handed on.
func appendProof(b []byte, publicURL string, verified bool, text []byte, sig [64]byte) []byte {
	if publicURL != "" {
		b = append(b, `,"publicUrl":`...)
		b = appendString(b, publicURL)
	}
	b = append(b, `,"verified":`...)
	b = strconv.AppendBool(b, verified)
	if len(text) == 0 {
		return b
	}
	b = append(b, `,"record":{"payloadStr":`...)
	b = appendString(b, text)
	b = append(b, `,"signature":"`...)
	b = hex.AppendEncode(b, sig[:])
	return append(b, `"}`...)
}

var answerOK = []byte(`{"ok":true}`)

func (s *Server) deregister(c *fiber.Ctx) error {
	from, err := s.admit(c, BudgetPosts)
	if err != nil {
		return err
	}
	k, ok := keyParam(c)
	if !ok {
		return ErrNoPeer
	}
	var signedAt time.Time
	if body := web.Body(c); string(body) != "{}" {
		if signedAt, err = s.order(body, envelope.PurposeDeregister, k); err != nil {
			return err
		}
	}
	if err := s.store.Drop(c.UserContext(), k, from, signedAt, s.opts.Now()); err != nil {
		return err
	}
	s.metrics.deregistered.Inc()
	web.Raw(c, fiber.StatusOK, answerOK)
	return nil
}

// order opens a text that must be signed by the key for just this purpose.
func (s *Server) order(body []byte, purpose string, k core.PublicKey) (time.Time, error) {
	h, err := s.opener.OpenHints(body, purpose, false)
	if err != nil {
		return time.Time{}, err
	}
	if h.Key != k {
		return time.Time{}, core.Refuse(core.Forbidden, "Signed by another key")
	}
	return h.SentAt, nil
}
