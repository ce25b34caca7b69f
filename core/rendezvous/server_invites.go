package rendezvous

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/web"
)

func (s *Server) invite(c *fiber.Ctx) error {
	from, err := s.admit(c, BudgetPosts)
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
	i := Code{
		Key: h.Key, Addr: from, Port: h.Value.Port, PublicURL: h.Value.PublicURL, Verified: !h.Unsigned,
		Created: now.UnixMilli(), Expires: now.Add(life).UnixMilli(), Uses: h.Value.Uses,
	}
	if h.V2 {
		i.Record = h.Record
	} else if !h.Unsigned { // a registration of 0.7 reads the same
		if newer, err := s.store.Newer(c.UserContext(), h.Key, h.SentAt, now); err != nil {
			return err
		} else if !newer {
			return ErrNewer
		}
	}
	signedAt := h.SentAt
	if h.Unsigned {
		signedAt = time.Time{}
	}
	code, err := s.store.AddCode(c.UserContext(), i, signedAt, now)
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
	from, err := s.admit(c, BudgetReads)
	if err != nil {
		return err
	}
	now := s.opts.Now()
	i, err := s.store.Resolve(c.UserContext(), strings.ToLower(c.Params("token")), from, c.Method() == fiber.MethodGet, now)
	if err != nil {
		if errors.Is(err, core.NotFound) {
			s.metrics.inviteMisses.Inc()
		}
		return err
	}
	s.metrics.resolves.Inc()
	b := append(make([]byte, 0, 1024), `{"pubkey":"`...)
	b = appendKey(b, i.Key)
	b = append(b, `","ip":"`...)
	b = i.Addr.AppendTo(b)
	b = append(b, `","port":`...)
	b = strconv.AppendInt(b, int64(i.Port), 10)
	b = appendProof(b, i.PublicURL, i.Verified, []byte(i.Record.PayloadStr), i.sig())
	b = append(b, `,"expiresIn":`...)
	b = strconv.AppendInt(b, max(0, i.Expires-now.UnixMilli()+999)/1000, 10)
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
	if _, err := s.admit(c, BudgetPosts); err != nil {
		return err
	}
	h, err := s.opener.OpenHints(web.Body(c), envelope.PurposeList, false)
	if err != nil {
		return err
	}
	open := []listed{}
	codes, err := s.store.Codes(c.UserContext(), h.Key, s.opts.Now())
	if err != nil {
		return err
	}
	for _, i := range codes {
		open = append(open, listed{i.Text, i.Created, i.Expires, i.Uses, i.Used})
	}
	return web.JSON(c, fiber.StatusOK, struct {
		OK      bool     `json:"ok"`
		Invites []listed `json:"invites"`
	}{true, open})
}

func (s *Server) revoke(c *fiber.Ctx) error {
	if _, err := s.admit(c, BudgetPosts); err != nil {
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
	if err := s.store.Revoke(c.UserContext(), h.Key, token, s.opts.Now()); err != nil {
		return err
	}
	web.Raw(c, fiber.StatusOK, answerOK)
	return nil
}
