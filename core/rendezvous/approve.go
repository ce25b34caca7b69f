package rendezvous

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

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

// approvalsOwner is the name that our approvals have in the store; no plugin can have it.
const approvalsOwner = "_invites"

// Approvals remembers our invites that approve by themselves, in the store: they live as
// long as their codes, whoever restarts, and every node knows them. Safe for concurrent
// use.
type Approvals struct {
	Store ApprovalStore
	mu    sync.Mutex // held over each change
}

// ApprovalStore is what Approvals need of the store.
type ApprovalStore interface {
	KV(ctx context.Context, plugin, key string) ([]byte, error)
	KVList(ctx context.Context, plugin, prefix string) (map[string]int, error)
	Commit(ctx context.Context, c *core.Change) error
}

// approval is an invite that approves.
type approval struct {
	Secret  Secret           `json:"secret"`
	Grants  []core.Grant     `json:"grants"`
	Uses    int              `json:"uses"` // left; negative: without limit
	Expires time.Time        `json:"expires"`
	Taken   []core.PublicKey `json:"taken,omitempty"` // who was approved by it
}

// of reads the approvals of a code: servers may have given the same to two invites.
func (a *Approvals) of(ctx context.Context, code string) (list []approval, err error) {
	text, err := a.Store.KV(ctx, approvalsOwner, code)
	if errors.Is(err, core.NotFound) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	return list, err
}

// put keeps the approvals of a code; none: it is forgotten.
func (a *Approvals) put(ctx context.Context, code string, list []approval) error {
	put := core.KVPut{Plugin: approvalsOwner, Key: code}
	if len(list) > 0 {
		text, err := json.Marshal(list, json.Deterministic(true))
		if err != nil {
			return err
		}
		put.Value = text
	}
	return a.Store.Commit(ctx, &core.Change{KV: []core.KVPut{put}})
}

// Add remembers an invite that was made with Approve, and what it grants. It
// returns an error of kind RateLimited when too many are open.
func (a *Approvals) Add(ctx context.Context, i Invite, grants []core.Grant, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	open, err := a.tidy(ctx, now)
	if err != nil {
		return err
	}
	if open >= maxApprovals {
		return core.Refuse(core.RateLimited, "rendezvous: too many invites that approve are open")
	}
	list, err := a.of(ctx, i.Code)
	if err != nil {
		return err
	}
	return a.put(ctx, i.Code, append(list, approval{Secret: i.Secret, Grants: grants, Uses: cmp.Or(i.Uses, -1), Expires: i.Expires}))
}

// tidy forgets the invites that have ended, and counts the others. Called with mu held.
func (a *Approvals) tidy(ctx context.Context, now time.Time) (open int, err error) {
	codes, err := a.Store.KVList(ctx, approvalsOwner, "")
	if err != nil {
		return 0, err
	}
	for code := range codes {
		list, err := a.of(ctx, code)
		if err != nil {
			return 0, err
		}
		live := slices.DeleteFunc(slices.Clone(list), func(o approval) bool { return now.After(o.Expires) })
		if open += len(live); len(live) == len(list) {
			continue
		}
		if err := a.put(ctx, code, live); err != nil {
			return 0, err
		}
	}
	return open, nil
}

// Used is how many an invite of ours has approved by itself; ok is false for one that does not
// approve. A link is used without a word to the server that made its code.
func (a *Approvals) Used(ctx context.Context, code string) (n int, ok bool, err error) {
	list, err := a.of(ctx, code)
	for _, o := range list {
		n = max(n, len(o.Taken))
	}
	return n, len(list) > 0, err
}

// Forget ends the invites of a code, in any of its forms, that was revoked.
func (a *Approvals) Forget(ctx context.Context, code string) error {
	if ref, err := ParseRef(code); err == nil {
		code = ref.Code
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.put(ctx, code, nil)
}

// Redeem reports whether a verified request of accepter's follows an invite of
// inviter's, which is us, that approves it, and with which grants. Each accepter
// takes one use; asking again takes none. The error is the store's.
func (a *Approvals) Redeem(ctx context.Context, in *core.Invited, inviter, accepter core.PublicKey, now time.Time) (grants []core.Grant, ok bool, err error) {
	if in == nil || !isCode(in.Token) {
		return nil, false, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	list, err := a.of(ctx, in.Token)
	if err != nil {
		return nil, false, err
	}
	for i := range list {
		o := &list[i]
		if o.Secret == "" || now.After(o.Expires) || !hmac.Equal([]byte(proof(o.Secret, in.Token, inviter, accepter)), []byte(in.Proof)) {
			continue
		}
		if slices.Contains(o.Taken, accepter) {
			return o.Grants, true, nil
		}
		if o.Uses == 0 {
			continue
		}
		o.Uses--
		if len(o.Taken) < maxInviteUses {
			o.Taken = append(o.Taken, accepter)
		}
		err := a.put(ctx, in.Token, list)
		return o.Grants, err == nil, err
	}
	return nil, false, nil
}
