package rendezvous

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// approveContext begins every text under an invite's secret.
const approveContext = "ogp/invite-approve\n"

// maxApprovals bounds the invites of ours that approve by themselves.
const maxApprovals = 1000

// Prove shows that accepter was given the secret of inviter's invite: the
// `invite` member of its federation request. Only the inviter can check it, and
// it is of no use to anybody else or for another invite. It is nil for an invite
// without a secret.
//
// docs/rendezvous.md#pre-approval
func (r Ref) Prove(inviter, accepter core.PublicKey) *core.Invited {
	if r.Secret == "" {
		return nil
	}
	return &core.Invited{Token: r.Code, Proof: proof(r.Secret, r.Code, inviter, accepter)}
}

func proof(s Secret, code string, inviter, accepter core.PublicKey) string {
	mac := hmac.New(sha256.New, []byte(s))
	mac.Write([]byte(approveContext + code + "\n" + inviter.String() + "\n" + accepter.String()))
	return hex.EncodeToString(mac.Sum(nil))
}

// Approvals remembers our invites that approve by themselves, in memory: they
// live as long as their codes and end with the process. The zero value is ready
// to use and safe for concurrent use.
type Approvals struct {
	mu   sync.Mutex // guards open
	open []*approval
}

type approval struct {
	code    string
	secret  Secret
	grants  []core.Grant
	uses    int // left; negative: without limit
	expires time.Time
	taken   []core.PublicKey // who was approved by it
}

// Add remembers an invite that was made with Approve, and what it grants. It
// returns an error of kind RateLimited when too many are open.
func (a *Approvals) Add(i Invite, grants []core.Grant, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = slices.DeleteFunc(a.open, func(o *approval) bool { return now.After(o.expires) })
	if len(a.open) >= maxApprovals {
		return core.Refuse(core.RateLimited, "rendezvous: too many invites that approve are open")
	}
	uses := i.Uses
	if uses == 0 {
		uses = -1
	}
	a.open = append(a.open, &approval{code: i.Code, secret: i.Secret, grants: slices.Clone(grants), uses: uses, expires: i.Expires})
	return nil
}

// Forget ends the invites of a code, in any of its forms, that was revoked.
func (a *Approvals) Forget(code string) {
	if ref, err := ParseRef(code); err == nil {
		code = ref.Code
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = slices.DeleteFunc(a.open, func(o *approval) bool { return o.code == code })
}

// Redeem reports whether a verified request of accepter's follows an invite of
// inviter's, which is us, that approves it, and with which grants. Each accepter
// takes one use; asking again takes none.
func (a *Approvals) Redeem(in *core.Invited, inviter, accepter core.PublicKey, now time.Time) (grants []core.Grant, ok bool) {
	if in == nil {
		return nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range a.open {
		if o.code != in.Token || o.secret == "" || now.After(o.expires) ||
			!hmac.Equal([]byte(proof(o.secret, o.code, inviter, accepter)), []byte(in.Proof)) {
			continue
		}
		if !slices.Contains(o.taken, accepter) {
			if o.uses == 0 {
				continue
			}
			o.uses--
			if len(o.taken) < maxInviteUses {
				o.taken = append(o.taken, accepter)
			}
		}
		return slices.Clone(o.grants), true
	}
	return nil, false
}
