package daemon

import (
	"context"
	"net/netip"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// openRendezvous makes the client that keeps us registered.
func (d *Daemon) openRendezvous() {
	o := rendezvous.ClientOptions{
		Key: d.key.Signer, Logger: d.log,
		Stay:      d.leases.Shared(),
		Port:      func() int { return d.gateway.Settings().Port },
		PublicURL: d.publicURL,
	}
	if d.config().Rendezvous.Enabled {
		o.URLs = d.config().Rendezvous.Servers()
	}
	d.rendezvous = rendezvous.NewClient(o)
}

// registrations is how we stand with each rendezvous, or that another node sees to it: we do not,
// and see others. Who sees nobody, as while the database is away, shows how it stands itself.
func (d *Daemon) registrations() []rendezvous.Status {
	all := d.rendezvous.Status()
	work, differ := d.nodes.Count()
	if work+differ > 1 && d.leases.Shared() && !d.leases.Holds("rendezvous") {
		for i := range all {
			all[i] = rendezvous.Status{URL: all[i].URL, Elsewhere: true}
		}
	}
	return all
}

// publicURL is where others are told that we are reached: what the operator says,
// else the gateway URL unless that is only this machine's.
func (d *Daemon) publicURL() string {
	if d.config().Rendezvous.PublicURL != "" {
		return d.config().Rendezvous.PublicURL
	}
	return d.config().GatewayURL
}

func (d *Daemon) invite(ctx context.Context, p api.InviteParams) (api.InviteView, error) {
	in, err := d.rendezvous.Invite(ctx, rendezvous.InviteOptions{Uses: p.Uses, Expires: time.Duration(p.ExpiresMillis) * time.Millisecond, Approve: p.Approve})
	if err != nil {
		return api.InviteView{}, err
	}
	if p.Approve {
		if err := d.alone(ctx, func(ctx context.Context) error { return d.approvals.Add(ctx, in, p.Grants, time.Now()) }); err != nil {
			return api.InviteView{}, err
		}
	}
	v := viewInvite(in)
	v.Approves = p.Approve
	return v, nil
}

func viewInvite(in rendezvous.Invite) api.InviteView {
	v := api.InviteView{Code: in.Short(), Long: in.Long(), Link: in.Link(), Expires: in.Expires, Uses: in.Uses, Used: in.Used}
	if left := time.Until(in.Expires); !in.Expires.IsZero() && left > 0 {
		v.ExpiresIn = int((left + time.Second/2) / time.Second)
	}
	return v
}

func (d *Daemon) invites(ctx context.Context, _ api.None) ([]api.InviteView, error) {
	list, err := d.rendezvous.ListInvites(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]api.InviteView, 0, len(list))
	for _, in := range list {
		v := viewInvite(in)
		v.Long, v.Link = "", "" // the list knows no secrets
		used, approves, err := d.approvals.Used(ctx, in.Code)
		if err != nil {
			return nil, err
		}
		v.Used, v.Approves = max(v.Used, used), approves
		out = append(out, v)
	}
	return out, nil
}

func (d *Daemon) revoke(ctx context.Context, p api.CodeParams) (api.None, error) {
	if err := d.alone(ctx, func(ctx context.Context) error { return d.approvals.Forget(ctx, p.Code) }); err != nil {
		return api.None{}, err
	}
	return api.None{}, d.rendezvous.Revoke(ctx, p.Code)
}

// alone changes what our invites approve while no other node does.
func (d *Daemon) alone(ctx context.Context, f func(context.Context) error) error {
	under, release, err := d.leases.Wait(ctx, "invites", 5*time.Second)
	if err != nil {
		return err
	}
	defer release()
	return f(under)
}

// redeem says whether a request follows an invite of ours that approves it.
func (d *Daemon) redeem(in *core.Invited, accepter core.PublicKey) (grants []core.Grant, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if in == nil {
		return nil, false
	}
	err := d.alone(ctx, func(ctx context.Context) (err error) {
		grants, ok, err = d.approvals.Redeem(ctx, in, d.key.Public(), accepter, time.Now())
		return err
	})
	if err != nil {
		d.log.Error("an invite could not be checked: the request waits", "err", err)
	}
	return grants, ok
}

func (d *Daemon) accept(ctx context.Context, p api.AcceptParams) (api.AcceptResult, error) {
	found, err := d.rendezvous.Resolve(ctx, p.Ref)
	if err != nil {
		return api.AcceptResult{}, err
	}
	invited := found.Ref.Prove(found.Key, d.key.Public())
	r, err := d.ask(ctx, found, p.Alias, invited)
	r.Code, r.Approves = found.Ref.Short(), invited != nil
	return r, err
}

func (d *Daemon) connect(ctx context.Context, p api.AcceptParams) (api.AcceptResult, error) {
	key, err := keys.Parse(p.Ref)
	if err != nil {
		return api.AcceptResult{}, err
	}
	found, err := d.rendezvous.Lookup(ctx, key)
	if err != nil {
		return api.AcceptResult{}, err
	}
	return d.ask(ctx, found, p.Alias, nil)
}

// ask asks the gateway that was found, which must have the key that was found.
func (d *Daemon) ask(ctx context.Context, found rendezvous.Found, alias string, invited *core.Invited) (api.AcceptResult, error) {
	ask := gateway.Ask{URL: found.URL, Alias: alias, Expect: found.Key, Invite: invited}
	if found.IP.IsValid() && found.Port != 0 {
		if url := "http://" + netip.AddrPortFrom(found.IP, uint16(found.Port)).String(); url != found.URL {
			ask.Fallback = []string{url}
		}
	}
	asked, err := d.gateway.RequestFederation(ctx, ask)
	if err != nil {
		return api.AcceptResult{}, err
	}
	return api.AcceptResult{RequestResult: d.requested(asked), Verified: found.Verified, Rendezvous: found.Rendezvous}, nil
}
