package rendezvous

import (
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/web"
)

func (s *Server) invite(c *fiber.Ctx) error {
	from, err := s.admit(c, s.posts)
	if err != nil {
		return err
	}
	h, err := s.opener.OpenHints(web.Body(c), envelope.PurposeInvite, !s.opts.RequireSigned)
	if err != nil {
		return err
	}
	if err := checkPublicURL(h.Value.PublicURL); err != nil {
		return err
	}
	now := s.opts.Now()
	life, err := s.inviteTerms(h.Value)
	if err != nil {
		return err
	}
	i := invite{
		key: h.Key, addr: from, port: h.Value.Port, publicURL: h.Value.PublicURL, verified: !h.Unsigned,
		created: now.UnixMilli(), expires: now.Add(life).UnixMilli(), uses: h.Value.Uses,
	}
	if h.V2 {
		i.record = h.Record
	} else if !h.Unsigned && !s.registry.newer(h.Key, h.SentAt, now) {
		// A registration of 0.7 reads the same.
		return core.Refuse(core.Conflict, "A newer registration is known for this key")
	}
	signedAt := h.SentAt
	if h.Unsigned {
		signedAt = time.Time{}
	}
	code, err := s.invites.add(i, signedAt, now)
	if err != nil {
		return err
	}
	s.metrics.invites.Inc()
	return web.JSON(c, fiber.StatusOK, struct {
		OK        bool   `json:"ok"`
		Token     string `json:"token"`
		ExpiresIn int    `json:"expiresIn"`
	}{true, code, seconds(life)})
}

func (s *Server) inviteTerms(h envelope.Hints) (life time.Duration, err error) {
	if h.Uses < 0 || h.Uses > maxInviteUses {
		return 0, core.Refusef(core.Malformed, "uses must be a number (1-%d)", maxInviteUses)
	}
	if h.ExpiresIn == 0 {
		return s.opts.InviteTTL, nil
	}
	life = time.Duration(h.ExpiresIn) * time.Second
	if h.ExpiresIn < 0 || h.ExpiresIn > seconds(maxInviteLife) || life < minInviteLife {
		return 0, core.Refusef(core.Malformed, "expiresIn must be a number (%d-%d)", seconds(minInviteLife), seconds(maxInviteLife))
	}
	return life, nil
}

func (s *Server) resolve(c *fiber.Ctx) error {
	from, err := s.admit(c, s.reads)
	if err != nil {
		return err
	}
	now := s.opts.Now()
	if ok, after := s.misses.Check(from, now); !ok {
		return tooMany(after)
	}
	flooded := s.flood.on(now)
	if flooded && from.IsLoopback() { // there nobody has a budget of its own
		return tooMany(s.flood.refuse(now))
	}
	i, err := s.invites.get(strings.ToLower(c.Params("token")), c.Method() == fiber.MethodGet, now)
	if err != nil {
		s.metrics.inviteMisses.Inc()
		s.misses.Allow(from, now)
		if flooded {
			return tooMany(s.flood.refuse(now))
		}
		s.flood.miss(now)
		return err
	}
	s.metrics.resolves.Inc()
	b := append(make([]byte, 0, 1024), `{"pubkey":"`...)
	b = appendKey(b, i.key)
	b = append(b, `","ip":"`...)
	b = i.addr.AppendTo(b)
	b = append(b, `","port":`...)
	b = strconv.AppendInt(b, int64(i.port), 10)
	b = appendProof(b, i.publicURL, i.verified, []byte(i.record.PayloadStr), i.sig())
	b = append(b, `,"expiresIn":`...)
	b = strconv.AppendInt(b, max(0, i.expires-now.UnixMilli()+999)/1000, 10)
	web.Raw(c, fiber.StatusOK, append(b, '}'))
	return nil
}

// listed is an invite as its owner sees it. docs/rendezvous.md#invites
type listed struct {
	Token     string `json:"token"`
	CreatedAt int64  `json:"createdAt"` // ms
	ExpiresAt int64  `json:"expiresAt"` // ms
	Uses      int    `json:"uses"`      // 0: without limit
	Used      int    `json:"used"`
}

func (s *Server) list(c *fiber.Ctx) error {
	if _, err := s.admit(c, s.posts); err != nil {
		return err
	}
	h, err := s.opener.OpenHints(web.Body(c), envelope.PurposeList, false)
	if err != nil {
		return err
	}
	open := []listed{}
	for _, i := range s.invites.list(h.Key, s.opts.Now()) {
		open = append(open, listed{i.code, i.created, i.expires, i.uses, i.used})
	}
	return web.JSON(c, fiber.StatusOK, struct {
		OK      bool     `json:"ok"`
		Invites []listed `json:"invites"`
	}{true, open})
}

func (s *Server) revoke(c *fiber.Ctx) error {
	if _, err := s.admit(c, s.posts); err != nil {
		return err
	}
	h, err := s.opener.OpenHints(web.Body(c), envelope.PurposeRevoke, false)
	if err != nil {
		return err
	}
	token := strings.ToLower(c.Params("token"))
	if h.Value.Token != token {
		return core.Refuse(core.Malformed, "token differs from payloadStr")
	}
	if err := s.invites.revoke(h.Key, token, s.opts.Now()); err != nil {
		return err
	}
	web.Raw(c, fiber.StatusOK, answerOK)
	return nil
}
