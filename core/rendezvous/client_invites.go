package rendezvous

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

// InviteOptions are an invite's terms.
type InviteOptions struct {
	// Uses is how often the code can be resolved. Zero means without limit.
	Uses int
	// Expires is the code's life, 10 s to 24 h. Zero means what the server says.
	Expires time.Duration
	// Approve adds a secret, with which whoever accepts can show that we approve.
	// Hand the invite to an Approvals.
	Approve bool
}

// Invite is a code of ours.
type Invite struct {
	Ref
	Uses    int       // 0: without limit
	Used    int       // as of the server's list
	Created time.Time // of the server's list
}

// Invite asks the first server that answers for a code.
//
// Errors: kind Unreachable when none answers, Unavailable without servers, and
// what a server refused with otherwise.
func (c *Client) Invite(ctx context.Context, o InviteOptions) (Invite, error) {
	if len(c.servers) == 0 {
		return Invite{}, errNotConfigured
	}
	if o.Uses < 0 || o.Uses > maxInviteUses {
		return Invite{}, core.Refusef(core.Malformed, "rendezvous: invite: uses %d, want 1 to %d", o.Uses, maxInviteUses)
	}
	if o.Expires != 0 && (o.Expires < minInviteLife || o.Expires > maxInviteLife) {
		return Invite{}, core.Refusef(core.Malformed, "rendezvous: invite: life %v, want %v to %v", o.Expires, minInviteLife, maxInviteLife)
	}
	var first error
	for _, r := range c.servers {
		var a struct {
			Token     string `json:"token"`
			ExpiresIn int    `json:"expiresIn"`
		}
		err := c.tell(ctx, r, pathInvite, c.place(envelope.Hints{Purpose: envelope.PurposeInvite, Uses: o.Uses, ExpiresIn: seconds(o.Expires)}), &a)
		if err == nil && !isCode(a.Token) {
			err = core.Refuse(core.Malformed, "rendezvous: the server gave no code")
		}
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		now := c.opts.Now()
		key := c.opts.Key.Public()
		i := Invite{Uses: o.Uses, Created: now, Ref: Ref{
			Code: a.Token, Pin: pinOf(key), Key: key, URL: c.publicURL(), Rendezvous: r.url,
			Expires: now.Add(time.Duration(min(max(a.ExpiresIn, 0), seconds(maxInviteLife))) * time.Second),
		}}
		if o.Approve {
			i.Secret = NewSecret()
		}
		return i, nil
	}
	return Invite{}, first
}

// ListInvites returns our open invites of all servers, without their secrets.
// Servers that know no lists are passed over.
func (c *Client) ListInvites(ctx context.Context) ([]Invite, error) {
	if len(c.servers) == 0 {
		return nil, errNotConfigured
	}
	var all []Invite
	var failed error
	for _, r := range c.servers {
		var a struct {
			Invites []listed `json:"invites"`
		}
		if err := c.order(ctx, r, http.MethodPost, pathInvites, envelope.Hints{Purpose: envelope.PurposeList}, &a); err != nil {
			if !errors.Is(err, core.NotFound) {
				failed = err
			}
			continue
		}
		key := c.opts.Key.Public()
		for _, l := range a.Invites {
			if isCode(l.Token) {
				all = append(all, Invite{Uses: l.Uses, Used: l.Used, Created: time.UnixMilli(l.CreatedAt), Ref: Ref{
					Code: l.Token, Pin: pinOf(key), Key: key, URL: c.publicURL(), Rendezvous: r.url, Expires: time.UnixMilli(l.ExpiresAt)}})
			}
		}
	}
	if len(all) == 0 && failed != nil {
		return nil, failed
	}
	return all, nil
}

// Revoke ends an invite of ours, on whichever server has it. Errors: kind
// NotFound when none has it, Unreachable when none answers.
func (c *Client) Revoke(ctx context.Context, code string) error {
	if len(c.servers) == 0 {
		return errNotConfigured
	}
	ref, err := ParseRef(code)
	if err != nil {
		return err
	}
	var answers []asked
	for _, r := range c.servers {
		err := c.order(ctx, r, http.MethodDelete, pathToken+ref.Code, envelope.Hints{Purpose: envelope.PurposeRevoke, Token: ref.Code}, nil)
		if err == nil {
			return nil
		}
		answers = append(answers, asked{err: err})
	}
	return verdict(answers, "No open invite of ours has this code", "")
}
