package mcp

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	words "github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/wording"
)

// The arguments of the operator's tools.
type (
	approveIn struct {
		Peer    string   `json:"peer" jsonschema:"the whole fingerprint of the gateway that asks"`
		Alias   string   `json:"alias,omitempty" jsonschema:"our name for it"`
		Intents []string `json:"intents,omitempty" jsonschema:"what it may send; the configured default if left out"`
	}
	grantIn struct {
		Peer    string   `json:"peer" jsonschema:"the peer's name or fingerprint"`
		Intents []string `json:"intents" jsonschema:"all that it may send from now on"`
	}
	peerIn struct {
		Peer string `json:"peer" jsonschema:"the peer's name or fingerprint"`
	}
	aliasIn struct {
		Peer  string `json:"peer" jsonschema:"the peer's fingerprint or present name"`
		Alias string `json:"alias" jsonschema:"our name for it"`
	}
	requestIn struct {
		URL   string `json:"url" jsonschema:"the gateway URL of whom to ask"`
		Alias string `json:"alias,omitempty" jsonschema:"our name for it"`
	}
	heldIn struct {
		ID     string `json:"id" jsonschema:"of a message that a policy holds"`
		Reason string `json:"reason,omitempty" jsonschema:"for the peer, when it is turned down"`
	}
	done struct {
		Text string `json:"text"`
	}
)

func doneText(d done) string { return d.Text }

// operatorTools are what an agent has only where its operator says so: they change whom we
// trust, and with what.
func operatorTools(s *sdk.Server, c control.Caller) {
	about := func(verb string, p api.PeerView) done {
		return done{fmt.Sprintf("%s %s (fingerprint %s); it is %s.", verb, p.Name, p.Fingerprint, p.State)}
	}
	tool(s, "requests", "List the gateways that ask to federate with us. What they say of themselves is not verified.",
		reads("List requests"), func(ctx context.Context, _ none) (done, error) {
			l, err := api.Peers.Call(ctx, c, api.PeersParams{Status: core.Pending})
			return done{requestsText(l)}, err
		}, doneText)
	tool(s, "approve", "Approve a gateway that asks to federate. Only after your human has compared its fingerprint.",
		destroys("Approve a gateway"), func(ctx context.Context, p approveIn) (done, error) {
			grants, err := grantsOf(ctx, c, p.Peer, p.Intents)
			if err != nil {
				return done{}, err
			}
			o, err := api.Approve.Call(ctx, c, api.ApproveParams{Peer: p.Peer, Alias: p.Alias, Grants: grants})
			return about("Approved", o.Peer), err
		}, doneText)
	tool(s, "reject", "Reject a gateway that asks to federate.", destroys("Reject a gateway"), func(ctx context.Context, p peerIn) (done, error) {
		o, err := api.Reject.Call(ctx, c, api.EndParams{Peer: p.Peer})
		return about("Rejected", o.Peer), err
	}, doneText)
	tool(s, "grant", "Change what a peer may send us.", destroys("Change grants"), func(ctx context.Context, p grantIn) (done, error) {
		if len(p.Intents) == 0 {
			return done{}, core.Refuse(core.Malformed, "name at least one intent; remove ends the federation")
		}
		grants, err := grantsOf(ctx, c, p.Peer, p.Intents)
		if err != nil {
			return done{}, err
		}
		o, err := api.Grant.Call(ctx, c, api.ApproveParams{Peer: p.Peer, Grants: grants})
		return about("Changed the grants of", o.Peer), err
	}, doneText)
	tool(s, "remove", "End the federation with a peer.", destroys("Remove a peer"), func(ctx context.Context, p peerIn) (done, error) {
		o, err := api.Remove.Call(ctx, c, api.EndParams{Peer: p.Peer})
		return about("Removed", o.Peer), err
	}, doneText)
	tool(s, "forget", "Delete the record of a peer that is removed or rejected.", destroys("Forget a peer"), func(ctx context.Context, p peerIn) (done, error) {
		o, err := api.Forget.Call(ctx, c, api.EndParams{Peer: p.Peer})
		return about("Forgot", o.Peer), err
	}, doneText)
	tool(s, "alias", "Give a peer a name of ours.", destroys("Name a peer"), func(ctx context.Context, p aliasIn) (done, error) {
		o, err := api.Alias.Call(ctx, c, api.AliasParams{Peer: p.Peer, Alias: p.Alias})
		return about("Named", o), err
	}, doneText)
	tool(s, "request_federation", "Ask another gateway to federate with us.", destroys("Ask for federation"), func(ctx context.Context, p requestIn) (done, error) {
		o, err := api.Request.Call(ctx, c, api.RequestParams{URL: p.URL, Alias: p.Alias})
		return about("Asked", o.Peer), err
	}, doneText)
	tool(s, "release", "Let a message that a policy holds through to the agent.", destroys("Release a message"), func(ctx context.Context, p heldIn) (done, error) {
		m, err := api.InboxRelease.Call(ctx, c, api.IDParams{ID: p.ID})
		return done{"Released " + m.ID + "."}, err
	}, doneText)
	tool(s, "deny", "Turn down a message that a policy holds.", destroys("Turn down a message"), func(ctx context.Context, p heldIn) (done, error) {
		_, err := api.InboxDeny.Call(ctx, c, api.DenyParams{ID: p.ID, Reason: p.Reason})
		return done{"Turned down " + wording.Word(p.ID) + "."}, err
	}, doneText)
}

// grantsOf are grants for some intents. One that the peer has keeps its bounds, which the
// tools do not name.
func grantsOf(ctx context.Context, c control.Caller, peer string, intents []string) ([]core.Grant, error) {
	if len(intents) == 0 {
		return nil, nil
	}
	has, err := api.Peer.Call(ctx, c, api.PeerRef{Peer: peer})
	if err != nil {
		return nil, err
	}
	out := make([]core.Grant, len(intents))
	for i, name := range intents {
		out[i] = core.Grant{Intent: name, Enabled: true}
		for _, g := range has.Granted {
			if g.Intent == name {
				out[i] = g.Grant
				out[i].Enabled = true
			}
		}
	}
	return out, nil
}

// requestsText lists who asks. What a stranger says of itself stands between marks.
func requestsText(l []api.PeerView) string {
	if len(l) == 0 {
		return "Nobody asks."
	}
	var b strings.Builder
	b.WriteString(wording.Notice)
	for _, p := range l {
		said := "says its URL is: " + words.Line(p.URL, 128) + "\ncalls itself: " + words.Line(p.Unverified.DisplayName, 128)
		fmt.Fprintf(&b, "\nFingerprint %s, since %s.\n%s", p.Fingerprint, core.FormatTime(p.Since), words.Fence(rand.Text()[:10], "UNVERIFIED STRANGER", said, 512))
	}
	return b.String()
}
