package federation

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// Gateway is what the server hands envelopes to.
type Gateway interface {
	Card(peerID, timestamp, signature string) core.Card
	Pong() core.Pong
	ReceiveRequest(ctx context.Context, body []byte, from netip.Addr) (core.Answer, error)
	ReceiveApproval(ctx context.Context, body []byte) (core.Answer, error)
	ReceiveRemoval(ctx context.Context, body []byte) (core.Answer, error)
	ReceiveMessage(ctx context.Context, body []byte) (core.Answer, error)
	ReceiveReply(ctx context.Context, nonce core.Nonce, body []byte) (core.Answer, error)
	ReceiveIdentity(ctx context.Context, body []byte) (core.Answer, error)
	PollReply(ctx context.Context, nonce core.Nonce) (core.Answer, error)
}

// Limits bound what one address may ask in a minute. Zero fields mean the
// defaults.
type Limits struct {
	CardsPerMinute     int // GET requests; zero: 120
	StrangersPerMinute int // envelopes that nobody known has signed; zero: 60
}

// Options are a server's settings.
type Options struct {
	Gateway        Gateway
	Logger         *slog.Logger
	MaxBodyBytes   int // zero: 64 KiB
	TrustedProxies []netip.Prefix
	Limits         Limits
	Now            func() time.Time // nil: time.Now
	// Away is why no envelope can be taken and no poll answered now; nil: they always can.
	Away func() error
}

// server answers the protocol's endpoints.
type server struct {
	o         Options
	reads     *web.Limiter
	strangers *web.Limiter
	guesses   *web.Limiter  // polls
	doubtful  chan struct{} // a place for each envelope in work from an address out of tries
}

// NewServer returns an app that serves the protocol's endpoints.
func NewServer(o Options) *web.App {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Away == nil {
		o.Away = func() error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Limits.CardsPerMinute == 0 {
		o.Limits.CardsPerMinute = core.DefaultCardsPerMinute
	}
	if o.Limits.StrangersPerMinute == 0 {
		o.Limits.StrangersPerMinute = core.DefaultStrangersPerMin
	}
	app := web.New(web.Options{Name: "federation", Logger: o.Logger, MaxBodyBytes: o.MaxBodyBytes, TrustedProxies: o.TrustedProxies})
	s := &server{o: o, reads: web.NewLimiter(o.Limits.CardsPerMinute, o.Limits.CardsPerMinute),
		strangers: web.NewLimiter(o.Limits.StrangersPerMinute, o.Limits.StrangersPerMinute),
		guesses:   web.NewLimiter(o.Limits.CardsPerMinute, o.Limits.CardsPerMinute),
		doubtful:  make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1))}
	// Behind a tunnel every client looks like loopback. So all of it together may send as
	// much that is bad as many addresses; readings of the card are not counted there, as
	// one reader could keep out the others.
	s.reads.ExemptLoopback, s.strangers.Loopback, s.guesses.Loopback = true, behindTunnel, behindTunnel

	plain := func(receive func(ctx context.Context, body []byte) (core.Answer, error)) func(*fiber.Ctx, []byte) (core.Answer, error) {
		return func(c *fiber.Ctx, body []byte) (core.Answer, error) { return receive(c.UserContext(), body) }
	}
	f := app.Fiber
	f.Get(PathCard, s.counted(s.card))
	f.Get(PathPing, s.counted(s.ping))
	f.Get(PathReply+":nonce", s.poll)
	f.Post(PathRequest, s.receive(web.Fail, func(c *fiber.Ctx, body []byte) (core.Answer, error) {
		return o.Gateway.ReceiveRequest(c.UserContext(), body, web.ClientIP(c))
	}))
	f.Post(PathApprove, s.receive(web.Fail, plain(o.Gateway.ReceiveApproval)))
	f.Post(PathRemoved, s.receive(s.failRemoved, plain(o.Gateway.ReceiveRemoval)))
	f.Post(PathMessage, s.receive(s.failMessage, plain(o.Gateway.ReceiveMessage)))
	f.Post(PathReply+":nonce", s.receive(web.Fail, func(c *fiber.Ctx, body []byte) (core.Answer, error) {
		nonce, err := nonceOf(c)
		if err != nil {
			return core.Answer{}, err
		}
		return o.Gateway.ReceiveReply(c.UserContext(), nonce, body)
	}))
	f.Post(PathIdentity, s.receive(web.Fail, plain(o.Gateway.ReceiveIdentity)))
	return app
}

// behindTunnel is as how many addresses all of loopback counts.
const behindTunnel = 20

// tooMany is the error for an address that asks too much.
func tooMany(retryAfter time.Duration) error {
	e := core.Refuse(core.RateLimited, "Too many requests")
	e.RetryAfter = retryAfter
	return e
}

// counted answers 429 when an address asks too much, and else as next does.
func (s *server) counted(next fiber.Handler) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if ok, after := s.reads.Allow(web.ClientIP(c), s.o.Now()); !ok {
			return web.Fail(c, tooMany(after))
		}
		return next(c)
	}
}

func (s *server) card(c *fiber.Ctx) error {
	return web.JSON(c, http.StatusOK, s.o.Gateway.Card(c.Get(HeaderPeerID), c.Get(HeaderTimestamp), c.Get(HeaderSignature)))
}

func (s *server) ping(c *fiber.Ctx) error { return web.JSON(c, http.StatusOK, s.o.Gateway.Pong()) }

// nonceOf is the nonce in the path, as it was before it was escaped for it. One that
// can name nothing is refused, and not sent back.
//
// docs/threat-model.md#n3
func nonceOf(c *fiber.Ctx) (core.Nonce, error) {
	text := c.Params("nonce")
	if plain, err := url.PathUnescape(text); err == nil {
		text = plain
	}
	nonce := core.Nonce(text)
	if !nonce.Sound() {
		return "", core.Refuse(core.Malformed, "Invalid nonce")
	}
	return nonce, nil
}

// poll answers whoever knows a nonce, whatever else comes from the address; guesses
// are counted.
func (s *server) poll(c *fiber.Ctx) error {
	if err := s.o.Away(); err != nil {
		return web.Fail(c, err)
	}
	var a core.Answer
	nonce, err := nonceOf(c)
	if err == nil {
		a, err = s.o.Gateway.PollReply(c.UserContext(), nonce)
	}
	if err != nil || a.Status >= http.StatusBadRequest {
		if ok, after := s.guesses.Allow(web.ClientIP(c), s.o.Now()); !ok {
			return web.Fail(c, tooMany(after))
		}
	}
	if err != nil {
		return web.Fail(c, err)
	}
	web.Raw(c, a.Status, a.Body)
	return nil
}

// receive wraps what takes a kind of envelope. An address whose envelopes are from
// nobody known runs out of tries, and from then on is told nothing of them. That
// hits no friend at the same address: what a known peer has signed is judged by
// that peer's limits alone, and answered as everywhere. So envelopes are looked at
// first; for an address that is out of tries a few at a time, so that the flood of
// one takes no more than half of the machine. A look ends where a signature holds:
// what policies, a store or another gateway take over it keeps nobody waiting.
//
// docs/threat-model.md#n4, #d7
func (s *server) receive(fail func(*fiber.Ctx, error) error, receive func(*fiber.Ctx, []byte) (core.Answer, error)) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := s.o.Away(); err != nil {
			return fail(c, err)
		}
		addr, looked, friend := web.ClientIP(c), func() {}, false
		ok, after := s.strangers.Check(addr, s.o.Now())
		if !ok {
			select {
			case s.doubtful <- struct{}{}:
				looked = sync.OnceFunc(func() { <-s.doubtful })
				defer looked()
			case <-time.After(doubtfulWait):
				return fail(c, tooMany(after))
			}
		}
		c.SetUserContext(core.OnVerified(c.UserContext(), func(known bool) {
			friend = known
			looked()
		}))
		a, err := receive(c, web.Body(c))
		// A refusal may be an answer: a gateway that is not approved here and asks whether it
		// is gets a signed no.
		if err != nil && fromNobody(err) || err == nil && !friend && a.Status >= http.StatusBadRequest {
			if ok, after := s.strangers.Allow(addr, s.o.Now()); !ok && !friend {
				return fail(c, tooMany(after))
			}
		}
		if err != nil {
			return fail(c, err)
		}
		web.SetRetryAfter(c, a.RetryAfter)
		web.Raw(c, a.Status, a.Body)
		return nil
	}
}

// doubtfulWait is how long an envelope from an address that is out of tries waits
// for its turn.
const doubtfulWait = 2 * time.Second

func fromNobody(err error) bool {
	var e *core.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Answer() {
	case core.BadSignature, core.UnknownPeer, core.NotFound, core.Malformed:
		return true
	}
	return false
}

// status is the error as it may leave the process, and its status.
func (s *server) status(c *fiber.Ctx, err error, override map[core.Kind]int) (*core.Error, int) {
	var cause *core.Error
	if !errors.As(err, &cause) || cause.Kind == core.Internal {
		s.o.Logger.Error("could not answer", "path", web.ErrorText(c.Path()), "err", err)
		return core.Refuse(core.Internal, "Internal server error"), http.StatusInternalServerError
	}
	e := *cause // others may hold the same one
	web.SetRetryAfter(c, e.RetryAfter)
	code, ok := override[e.Answer()]
	if !ok {
		code = web.StatusOf(e.Answer())
	}
	e.Public = web.ErrorText(cmp.Or(e.Public, http.StatusText(code)))
	return &e, code
}

// failRemoved answers in the shape of the specification.
func (s *server) failRemoved(c *fiber.Ctx, err error) error {
	e, code := s.status(c, err, map[core.Kind]int{core.BadSignature: http.StatusForbidden})
	if code == http.StatusInternalServerError {
		e.Public = "Failed to update peer status"
	}
	return web.JSON(c, code, struct {
		Success bool   `json:"success"`
		Error   string `json:"error"`
	}{false, e.Public})
}

// failMessage answers in the shape of messages. A body without the two members
// has the plain shape, as in the field.
func (s *server) failMessage(c *fiber.Ctx, err error) error {
	e, code := s.status(c, err, nil)
	if e.Kind == core.Malformed && strings.HasPrefix(e.Public, "Missing message") {
		return web.Fail(c, e)
	}
	web.Raw(c, code, answer.Refusal(code, e).Body)
	return nil
}
