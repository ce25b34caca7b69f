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
	"sync/atomic"
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
	registry *registry
	invites  *invites
	metrics  *metrics
	posts    *web.Limiter // nil: none
	reads    *web.Limiter // nil: none
	misses   *web.Limiter
	flood    *flood
	preserve preservation // of Serve's goroutine alone

	renewed, dropped atomic.Int64
}

// NewServer returns a Server that remembers nobody; Serve reads the snapshot.
func NewServer(o ServerOptions) *Server {
	o.fill()
	s := &Server{opts: o}
	s.opener = &envelope.Opener{Near: s.near}
	s.registry = newRegistry(limits{max: o.MaxPeers, perAddress: o.MaxPerAddress, ttl: o.TTL, window: o.Window}, o.Now())
	s.invites = newInvites(o.MaxInvites, o.MaxInvitesPerKey, o.MaxInvitesPerAddress, o.Window)
	s.metrics = newMetrics(s.registry, s.invites)
	s.posts, s.reads = limiter(o.PostsPerMinute), limiter(o.ReadsPerMinute)
	s.misses = web.NewLimiter(missesPerAddress, missesPerAddress)
	s.misses.ExemptLoopback = true
	s.flood = newFlood(o.MissesPerMinute)
	s.preserve = preservation{interval: o.Reannounce, least: int64(o.PreserveFrom)}

	s.app = web.New(web.Options{Name: "rendezvous", Logger: o.Logger, TrustedProxies: o.TrustedProxies})
	f := s.app.Fiber
	f.Get(pathRoot, s.root)
	f.Get(pathHealth, s.health)
	f.Post(pathRegister, s.counting(s.register))
	f.Get(pathPeer+":pubkey", s.counting(s.lookup))
	f.Delete(pathPeer+":pubkey", s.counting(s.deregister))
	f.Post(pathInvite, s.counting(s.invite))
	f.Post(pathInvites, s.counting(s.list))
	f.Get(pathToken+":token", s.counting(s.resolve))
	f.Delete(pathToken+":token", s.counting(s.revoke))
	return s
}

// limiter allows a sixth of a minute's requests at once; nil for none at all.
func limiter(perMinute int) *web.Limiter {
	if perMinute < 0 {
		return nil
	}
	l := web.NewLimiter(perMinute, max(perMinute/6, 1))
	l.ExemptLoopback = true
	return l
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
			s.tick(s.opts.Now())
		case <-snapshot.C:
			if err := s.save(); err != nil {
				s.opts.Logger.Error("snapshot not written", "file", s.opts.Snapshot, "error", err)
			}
		}
	}
}

func (s *Server) tick(now time.Time) {
	holding := s.registry.preserveUntil.Load() > now.UnixMilli()
	until := s.preserve.tick(now, s.renewed.Load(), s.dropped.Load(), s.registry.live.Load())
	if !until.IsZero() {
		s.registry.preserveUntil.Store(until.UnixMilli())
		if !holding {
			s.opts.Logger.Warn("too few renewals: nothing expires for a while", "until", until, "records", s.registry.live.Load())
		}
	}
	s.registry.advance(now)
	s.invites.advance(now)
}

// counting counts refusals by reason.
func (s *Server) counting(h fiber.Handler) fiber.Handler {
	return func(c *fiber.Ctx) error {
		err := h(c)
		var e *core.Error
		if errors.As(err, &e) {
			s.metrics.refused(e.Kind)
		}
		return err
	}
}

// admit counts a request against its address's limit.
//
// docs/threat-model.md#n4
func (s *Server) admit(c *fiber.Ctx, l *web.Limiter) (netip.Addr, error) {
	from := web.ClientIP(c)
	if l == nil {
		return from, nil
	}
	if ok, after := l.Allow(from, s.opts.Now()); !ok {
		return from, tooMany(after)
	}
	return from, nil
}

func tooMany(after time.Duration) error {
	return &core.Error{Kind: core.RateLimited, Public: "Too many requests", RetryAfter: after}
}

func (s *Server) root(c *fiber.Ctx) error {
	s.registry.advance(s.opts.Now()) // so that only live records count
	return web.JSON(c, fiber.StatusOK, struct {
		OK    bool  `json:"ok"`
		Peers int64 `json:"peers"`
	}{true, s.registry.live.Load()})
}

func (s *Server) health(c *fiber.Ctx) error {
	web.Raw(c, fiber.StatusOK, []byte(`{"ok":true}`))
	return nil
}

func (s *Server) register(c *fiber.Ctx) error {
	from, err := s.admit(c, s.posts)
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
	renewal, err := s.registry.put(candidate{
		key: h.Key, addr: from, port: h.Value.Port, publicURL: h.Value.PublicURL, signed: !h.Unsigned, record: h.Record, sentAt: h.SentAt,
	}, s.opts.Now())
	if err != nil {
		return err
	}
	s.metrics.registrations[!h.Unsigned].Inc()
	if renewal {
		s.metrics.renewals.Inc()
		s.renewed.Add(1)
	}
	return web.JSON(c, fiber.StatusOK, registered{true, from.String(), seconds(s.opts.TTL), s.reannounce()})
}

// registered answers a registration. docs/rendezvous.md#register
type registered struct {
	OK              bool   `json:"ok"`
	YourIP          string `json:"yourIp"`
	TTL             int    `json:"ttl"`             // seconds
	ReannounceAfter int    `json:"reannounceAfter"` // seconds
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// reannounce is Reannounce within a tenth either way, so that clients that came
// together part.
func (s *Server) reannounce() int {
	tenth := s.opts.Reannounce / 10
	return max(1, seconds(s.opts.Reannounce-tenth+mathrand.N(2*tenth+1)))
}

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
	if _, err := s.admit(c, s.reads); err != nil {
		return err
	}
	k, ok := keyParam(c)
	f, missing := found{}, errNoPeer
	if ok {
		f, missing = s.registry.get(k, s.opts.Now())
	}
	if missing != nil { // no refusal, and no dearer than a hit. docs/threat-model.md#v5
		s.metrics.misses.Inc()
		web.Raw(c, fiber.StatusNotFound, missing.body)
		return nil
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
	from, err := s.admit(c, s.posts)
	if err != nil {
		return err
	}
	k, ok := keyParam(c)
	if !ok {
		return errNoPeer.err
	}
	var signedAt time.Time
	if body := web.Body(c); string(body) != "{}" {
		if signedAt, err = s.order(body, envelope.PurposeDeregister, k); err != nil {
			return err
		}
	}
	if err := s.registry.drop(k, from, signedAt, s.opts.Now()); err != nil {
		return err
	}
	s.metrics.deregistered.Inc()
	s.dropped.Add(1)
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
