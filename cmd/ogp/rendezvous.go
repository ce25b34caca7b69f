package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// defaultRendezvousListen is the port of the specification.
const defaultRendezvousListen = ":3000"

func rendezvousCommand(a *app) *cobra.Command {
	var o rendezvous.ServerOptions
	var listen, metrics, format string
	var proxies []string
	cmd := &cobra.Command{
		Use: "rendezvous", Short: "Run a rendezvous server", Args: cobra.NoArgs,
		Long: `Run a rendezvous: a server that helps gateways find each other by key and by
invite code. It keeps keys, addresses and the time last seen, and carries no
messages. PORT in the environment sets the port.

  ogp rendezvous --listen :3000 --metrics-listen 127.0.0.1:9300`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if port := a.getenv("PORT"); port != "" && !cmd.Flags().Changed("listen") {
				listen = ":" + port
			}
			for _, text := range proxies {
				p, err := netip.ParsePrefix(text)
				if err != nil {
					return usagef("--trusted-proxies %q: want a range such as 10.0.0.0/8", text)
				}
				o.TrustedProxies = append(o.TrustedProxies, p)
			}
			if !cmd.Flags().Changed("snapshot") {
				dir, err := a.stateDir()
				if err != nil {
					return err
				}
				if err := os.MkdirAll(dir, 0o700); err != nil {
					return err
				}
				o.Snapshot = filepath.Join(dir, "rendezvous.snapshot")
			}
			o.Logger = newLogger(a.err, format, slog.LevelInfo)
			return a.runRendezvous(cmd.Context(), o, listen, metrics)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", defaultRendezvousListen, "address to listen on")
	f.StringVar(&metrics, "metrics-listen", "", "address for /metrics and /healthz (default none)")
	f.BoolVar(&o.RequireSigned, "require-signed", false, "turn away registrations that nobody has signed (gateways before 0.7)")
	f.StringSliceVar(&proxies, "trusted-proxies", nil, "ranges of proxies whose X-Forwarded-For is believed")
	f.IntVar(&o.MaxPeers, "max-peers", 1_000_000, "how many gateways are kept at the most")
	f.IntVar(&o.MaxPerAddress, "max-per-address", 1_000, "how many of them from one address")
	f.StringVar(&o.Snapshot, "snapshot", "", "file that keeps the records over a restart (default rendezvous.snapshot in the state directory)")
	f.StringVar(&format, "log-format", "text", "text or json")
	return cmd
}

func (a *app) runRendezvous(ctx context.Context, o rendezvous.ServerOptions, listen, metrics string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return &core.Error{Kind: core.Unavailable, Public: "cannot listen on " + listen, Err: err, Hint: "--listen picks another address"}
	}
	s := rendezvous.NewServer(o)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	if metrics != "" {
		mln, err := net.Listen("tcp", metrics)
		if err != nil {
			ln.Close()
			return err
		}
		wg.Go(func() {
			if err := s.ServeMetrics(ctx, mln); err != nil {
				o.Logger.Error("metrics", "err", err)
			}
		})
	}
	if a.json {
		a.writeJSON(map[string]string{"listen": ln.Addr().String()})
	} else {
		fmt.Fprintf(a.out, "Rendezvous is listening on %s\n\nNext, in a gateway's config.toml:\n\n  [rendezvous]\n  enabled = true\n  url = \"http://<this host>:%d\"\n",
			ln.Addr(), ln.Addr().(*net.TCPAddr).Port)
	}
	o.Logger.Info("rendezvous is running", "listen", ln.Addr().String())
	err = s.Serve(ctx, ln)
	stop()
	return err
}

// openRendezvous makes the client that keeps us registered.
func (d *daemon) openRendezvous() {
	o := rendezvous.ClientOptions{
		Key: d.key, Logger: d.log,
		Port:      func() int { return d.gateway.Settings().Port },
		PublicURL: d.publicURL,
	}
	if d.config().Rendezvous.Enabled {
		o.URLs = d.config().Rendezvous.Servers()
	}
	d.rendezvous = rendezvous.NewClient(o)
}

// publicURL is where others are told that we are reached: what the operator says,
// else the gateway URL unless that is only this machine's.
func (d *daemon) publicURL() string {
	if d.config().Rendezvous.PublicURL != "" {
		return d.config().Rendezvous.PublicURL
	}
	return d.config().GatewayURL
}

func (d *daemon) invite(ctx context.Context, p api.InviteParams) (api.InviteView, error) {
	in, err := d.rendezvous.Invite(ctx, rendezvous.InviteOptions{Uses: p.Uses, Expires: time.Duration(p.ExpiresMillis) * time.Millisecond, Approve: p.Approve})
	if err != nil {
		return api.InviteView{}, err
	}
	if p.Approve {
		if err := d.approvals.Add(in, p.Grants, time.Now()); err != nil {
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

func (d *daemon) invites(ctx context.Context, _ api.None) ([]api.InviteView, error) {
	list, err := d.rendezvous.ListInvites(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]api.InviteView, 0, len(list))
	for _, in := range list {
		v := viewInvite(in)
		v.Long, v.Link = "", "" // the list knows no secrets
		out = append(out, v)
	}
	return out, nil
}

func (d *daemon) revoke(ctx context.Context, p api.CodeParams) (api.None, error) {
	d.approvals.Forget(p.Code)
	return api.None{}, d.rendezvous.Revoke(ctx, p.Code)
}

func (d *daemon) accept(ctx context.Context, p api.AcceptParams) (api.AcceptResult, error) {
	found, err := d.rendezvous.Resolve(ctx, p.Ref)
	if err != nil {
		return api.AcceptResult{}, err
	}
	invited := found.Ref.Prove(found.Key, d.key.Public())
	r, err := d.ask(ctx, found, p.Alias, invited)
	r.Code, r.Approves = found.Ref.Short(), invited != nil
	return r, err
}

func (d *daemon) connect(ctx context.Context, p api.AcceptParams) (api.AcceptResult, error) {
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
func (d *daemon) ask(ctx context.Context, found rendezvous.Found, alias string, invited *core.Invited) (api.AcceptResult, error) {
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
	return api.AcceptResult{RequestResult: api.RequestResult{Peer: d.view(asked.Peer, true), Status: asked.Status}, Verified: found.Verified, Rendezvous: found.Rendezvous}, nil
}

func inviteCommand(a *app) *cobra.Command {
	var p api.InviteParams
	var g grantFlags
	var expires time.Duration
	var qr bool
	cmd := &cobra.Command{
		Use: "invite", Short: "Make a short-lived invite code", Args: cobra.NoArgs,
		Long: `Make an invite code through the rendezvous. The long form also pins our key, so
that nobody on the way can put another in its place. With --approve, whoever
holds the long form or the link is approved at once, with these grants.

  ogp federation invite --approve --intents message,agent-comms --uses 1`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			grants, err := g.grants()
			if err != nil {
				return err
			}
			if grants != nil && !p.Approve {
				return usagef("grants are for --approve; without it, you choose them when you approve")
			}
			p.Grants, p.ExpiresMillis = grants, expires.Milliseconds()
			if cmd.Flags().Changed("expires") && expires < 10*time.Second {
				return usagef("--expires %v: want at least 10s", expires)
			}
			v, err := api.Invite.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(v)
				return nil
			}
			fmt.Fprintf(a.out, "Your invite code: %s (expires in %s)\n", v.Code, inWords(time.Duration(v.ExpiresIn)*time.Second))
			fmt.Fprintf(a.out, "Share this with your peer — they run: ogp federation accept %s\n", v.Code)
			fmt.Fprintf(a.out, "\nLong form, which pins your key: %s\n", v.Long)
			if v.Approves {
				fmt.Fprintln(a.out, "Whoever accepts the long form or the link is approved at once; the short code alone never is.")
			}
			if qr {
				fmt.Fprintf(a.out, "\n%s\n", v.Link)
				qrterminal.GenerateHalfBlock(v.Link, qrterminal.L, a.out)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&p.Uses, "uses", 0, "how often it can be used (default without limit)")
	durationVar(f, &expires, "expires", "how long it lives, such as 1h or 1d (default 10m)")
	f.BoolVar(&p.Approve, "approve", false, "approve whoever accepts the long form or the link")
	f.BoolVar(&qr, "qr", false, "print the link, which carries key and URL, and its QR code")
	g.registerAs(cmd, "grants-expire")
	cmd.AddCommand(inviteListCommand(a), inviteRevokeCommand(a))
	return cmd
}

// inWords says a duration as people do.
func inWords(d time.Duration) string {
	if d >= 2*time.Minute || d%time.Minute == 0 && d >= time.Minute {
		n := int((d + time.Minute/2) / time.Minute)
		if n == 1 {
			return "1 minute"
		}
		return fmt.Sprintf("%d minutes", n)
	}
	return fmt.Sprintf("%d seconds", int(d/time.Second))
}

func inviteListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List our open invites", Args: cobra.NoArgs,
		Long: "List our open invites.\n\n  ogp federation invite list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := api.Invites.Call(cmd.Context(), a, api.None{})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(list)
				return nil
			}
			if len(list) == 0 {
				fmt.Fprintln(a.err, "No open invites.")
				return nil
			}
			rows := make([][]string, len(list))
			for i, v := range list {
				uses := fmt.Sprint(v.Used)
				if v.Uses > 0 {
					uses += fmt.Sprintf(" of %d", v.Uses)
				}
				rows[i] = []string{v.Code, until(v.Expires), uses}
			}
			table(a.out, []string{"CODE", "EXPIRES", "USED"}, rows)
			return nil
		},
	}
}

func inviteRevokeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "revoke <code>", Short: "Take an invite back", Args: cobra.ExactArgs(1),
		Long: "Take an invite back before it expires.\n\n  ogp federation invite revoke a3f7k2",
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := api.RevokeInvite.Call(cmd.Context(), a, api.CodeParams{Code: args[0]}); err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]string{"revoked": args[0]})
				return nil
			}
			fmt.Fprintf(a.out, "Revoked %s\n", args[0])
			return nil
		},
	}
}

func acceptCommand(a *app) *cobra.Command {
	var p api.AcceptParams
	cmd := &cobra.Command{
		Use: "accept <code or link>", Short: "Accept an invite and ask its gateway for federation", Args: cobra.MinimumNArgs(1),
		Long: "Accept an invite: find its gateway, check its key, and ask it for federation.\n\n  ogp federation accept a3f7k2",
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Ref = strings.Join(args, "")
			r, err := api.Accept.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			a.connected(r, r.Code)
			return nil
		},
	}
	cmd.Flags().StringVar(&p.Alias, "alias", "", "our name for the peer")
	return cmd
}

func connectCommand(a *app) *cobra.Command {
	var p api.AcceptParams
	cmd := &cobra.Command{
		Use: "connect <public key>", Short: "Find a gateway by its key and ask it for federation", Args: cobra.ExactArgs(1),
		Long: "Look a gateway up by its public key at the rendezvous, and ask it for federation.\n\n  ogp federation connect 302a300506032b6570032100a7febe3bfff449857fca220157f8115574986746555596592ba800bde8d098d4",
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Ref = args[0]
			r, err := api.Connect.Call(cmd.Context(), a, p)
			if err != nil {
				return err
			}
			a.connected(r, args[0][:min(len(args[0]), 16)])
			return nil
		},
	}
	cmd.Flags().StringVar(&p.Alias, "alias", "", "our name for the peer")
	return cmd
}

// connected prints the line of the specification, and what happens next.
func (a *app) connected(r api.AcceptResult, what string) {
	if a.json {
		a.writeJSON(r)
		return
	}
	fmt.Fprintf(a.out, "Connected to %s... via rendezvous ✅\n", what)
	name := r.Peer.Alias
	if name == "" {
		name = dash(r.Peer.Said())
	}
	if r.Peer.State == core.Approved {
		fmt.Fprintf(a.out, "approved: %s had asked already, fingerprint %s\n", name, r.Peer.Fingerprint)
		return
	}
	if r.Approves {
		fmt.Fprintf(a.out, "the invite approves by itself: %s answers in a moment, fingerprint %s\n", name, r.Peer.Fingerprint)
		return
	}
	fmt.Fprintf(a.out, "pending: waiting for %s to approve, fingerprint %s\n", name, r.Peer.Fingerprint)
}
