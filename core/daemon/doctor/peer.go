package doctor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// Peer looks at one peer, both ways. Nothing that we sign is sent: a signed
// card request could be shown to another old gateway as a removal notice.
func (d *Doctor) Peer(ctx context.Context, ref string) ([]api.Check, error) {
	p, err := d.Gateway.Resolve(ref)
	if err != nil {
		return nil, err
	}
	r := api.Report{}
	d.checkTrust(&r, p)
	if d.checkPeerReach(ctx, &r, p) {
		d.checkPeerClock(ctx, &r, p)
	}
	if fresh := d.Gateway.Peer(p.Key); fresh != nil {
		p = fresh // the check may have read its features
	}
	d.checkFeatures(&r, p)
	if p.Trust == core.Approved {
		d.checkGrants(&r, p)
	}
	if err := d.checkOutgoing(ctx, &r, p); err != nil {
		return nil, err
	}
	d.checkHeard(&r, p)
	return r, nil
}

func (d *Doctor) checkTrust(r *api.Report, p *core.Peer) {
	name := p.Name()
	since := text.Ago(p.Since)
	switch p.Trust {
	case core.Approved:
		r.Ok("trust", "%s is approved since %s, fingerprint %s", name, since, p.Key.Fingerprint())
	case core.Requested:
		r.Warn("trust", "its operator runs: ogp federation approve "+d.Key.Public().Fingerprint(), "we asked %s %s, and it has not answered", name, since)
	case core.Pending:
		r.Warn("trust", "compare the fingerprint "+p.Key.Fingerprint()+" with its operator, then \"ogp federation approve "+name+"\"", "%s asked %s, and waits for you", name, since)
	case core.Removed:
		who := "you have removed it"
		if p.By == core.Them {
			who = "it has removed you"
		}
		r.Fail("trust", "ogp federation request --again "+p.URL, "%s is removed since %s: %s", name, since, who)
	default:
		r.Fail("trust", "ogp federation request --again "+p.URL, "%s is %s since %s", name, p.Trust, since)
	}
	if p.Warning != "" {
		r.Warn("trust", "ask its operator, by phone say, whether that is so", "%s", p.Warning)
	}
}

// checkPeerReach gets the card, compares its key, and reports whether it answered.
func (d *Doctor) checkPeerReach(ctx context.Context, r *api.Report, p *core.Peer) bool {
	if p.URL == "" {
		r.Fail("reach", "ogp federation request <its URL>", "we know no URL of %s", p.Name())
		return false
	}
	began := time.Now()
	card, err := d.Gateway.CheckPeer(ctx, p)
	took := time.Since(began).Round(time.Millisecond)
	switch {
	case errors.Is(err, core.Conflict):
		r.Ok("reach", "%s answers in %v", p.URL, took)
		r.Fail("peer-key", "compare fingerprints with its operator another way; if it has a new key: \"ogp federation remove "+p.Name()+"\", then ask it again",
			"%s is answered with another key: fingerprint %s, on record is %s", p.URL, d.answering(ctx, p), p.Key.Fingerprint())
		return true
	case err != nil:
		r.Failed("reach", "is it up? Messages wait meanwhile: \"ogp outbox\"", err)
		return false
	}
	r.Ok("reach", "%s answers in %v", p.URL, took)
	r.Ok("peer-key", "the card has the key on record, fingerprint %s", p.Key.Fingerprint())
	if said := strings.TrimRight(card.GatewayURL, "/"); said != strings.TrimRight(p.URL, "/") {
		r.Warn("peer-url", "ask its operator to correct gateway_url there, or \"ogp federation request --again "+said+"\"",
			"its card says that it is at %s, and we have %s on record", said, p.URL)
	}
	return true
}

// answering is the fingerprint of whoever answers at a peer's URL.
func (d *Doctor) answering(ctx context.Context, p *core.Peer) string {
	card, err := d.Card(ctx, p.URL, nil)
	if err != nil {
		return "unknown"
	}
	k, err := keys.Parse(card.PublicKey)
	if err != nil {
		return "not a key"
	}
	return k.Fingerprint()
}

func (d *Doctor) checkPeerClock(ctx context.Context, r *api.Report, p *core.Peer) {
	began := time.Now()
	pong, took, err := d.Gateway.PingGateway(ctx, p.URL)
	if err != nil {
		r.Failed("ping", "update that gateway, or look at the proxy in front of it", err)
		return
	}
	there, err := core.ParseTime(pong.Timestamp)
	if err != nil {
		return // older gateways write it otherwise
	}
	checkSkew(r, began.Add(took/2).Sub(there).Round(time.Second), d.Config.Freshness.Window, p.Name())
}

func (d *Doctor) checkFeatures(r *api.Report, p *core.Peer) {
	version := "no version known"
	if p.Version != "" {
		version = "version " + p.Version
	}
	if !p.HasFeature(core.FeatureV2) {
		r.Warn("features", "ask its operator to update it; until then its messages name no recipient", "%s, signs in the old way; %s", version, cmp.Or(strings.Join(p.Features, ", "), "-"))
		return
	}
	shown := "it has not sent us a message signed in the new way yet"
	if p.V2 {
		shown = "only messages signed in the new way are taken from it"
	}
	r.Ok("features", "%s; %s; %s", version, shown, strings.Join(p.Features, ", "))
}

// checkGrants looks at what each side may.
func (d *Doctor) checkGrants(r *api.Report, p *core.Peer) {
	granted, fix := grantsText(p.Granted, time.Now())
	if granted == "" {
		r.Warn("granted", "ogp federation grant "+p.Name()+" --intents message", "%s may send us nothing%s", p.Name(), fix)
	} else {
		r.Ok("granted", "%s may send us %s%s", p.Name(), granted, fix)
	}
	for _, g := range d.usedUp(p) {
		r.Warn("granted", "ogp federation grant "+p.Name()+" --intents "+g.Intent+" --rate <more>", "%s has used all of its %s for now", p.Name(), g.Line())
	}
	received, fix := grantsText(p.Received, time.Now())
	switch {
	case p.Received == nil:
		r.Warn("received", "ogp federation approve "+p.Name()+" tells it of us once more; its operator grants with: ogp federation grant", "%s has not said what we may send", p.Name())
	case received == "":
		r.Fail("received", "its operator runs: ogp federation grant "+d.Key.Public().Fingerprint()+" --intents message", "we may send %s nothing%s", p.Name(), fix)
	default:
		r.Ok("received", "we may send %s %s%s", p.Name(), received, fix)
	}
}

// grantsText names the intents that are granted now, and those that have ended.
func grantsText(b *core.Bundle, now time.Time) (text, note string) {
	if b == nil {
		return "", ""
	}
	var names, ended []string
	for _, g := range b.Scopes {
		at, err := core.ParseTime(g.ExpiresAt)
		switch {
		case !g.Enabled:
		case g.ExpiresAt != "" && err == nil && now.After(at):
			ended = append(ended, g.Intent)
		default:
			names = append(names, g.Intent)
		}
	}
	if len(ended) > 0 {
		note = "; ended: " + strings.Join(ended, ", ")
	}
	return strings.Join(names, ", "), note
}

// usedUp are the grants whose rate is reached.
func (d *Doctor) usedUp(p *core.Peer) []api.GrantView {
	var out []api.GrantView
	if p.Granted == nil {
		return nil
	}
	for _, g := range p.Granted.Scopes {
		rate := core.DefaultRate
		if g.RateLimit != nil {
			rate = *g.RateLimit
		}
		if used, _ := d.Gateway.Used(p.Key, g); g.Enabled && rate.Requests > 0 && used >= rate.Requests {
			out = append(out, api.GrantView{Grant: g, Used: used})
		}
	}
	return out
}

// recentOutgoing is how many of our last messages are looked at for refusals.
const recentOutgoing = 20

func (d *Doctor) checkOutgoing(ctx context.Context, r *api.Report, p *core.Peer) error {
	waiting, err := d.Store.Outbox(ctx, core.OutboxFilter{Peer: p.Key, State: core.OutWaiting, Limit: 1000})
	if err != nil {
		return err
	}
	if n := len(waiting); n > 0 {
		oldest := slices.MinFunc(waiting, func(a, b *core.OutboxItem) int { return a.Created.Compare(b.Created) })
		r.Warn("messages", "ogp outbox --peer "+p.Name(), "%s, the oldest since %s: %s", text.Count(n, "message waits", "messages wait"), text.Ago(oldest.Created), cmp.Or(oldest.Error, "not tried yet"))
	} else {
		r.Ok("messages", "none waits")
	}
	recent, err := d.Store.Outbox(ctx, core.OutboxFilter{Peer: p.Key, Limit: recentOutgoing})
	if err != nil {
		return err
	}
	for _, item := range recent {
		if item.State == core.OutRefused || item.State == core.OutExpired {
			r.Warn("last-error", "ogp outbox show "+item.ID, "a message was %s, %s: %s", item.State, text.Ago(item.Done), cmp.Or(item.Error, "the peer has not said why"))
			return nil
		}
	}
	return nil
}

// checkHeard looks at what came from the peer.
func (d *Doctor) checkHeard(r *api.Report, p *core.Peer) {
	h := d.Gateway.Health(p.Key)
	if h.LastInbound.IsZero() {
		r.Ok("heard", "nothing from it since our start")
		return
	}
	r.Ok("heard", "last from it %s", text.Ago(h.LastInbound))
}
