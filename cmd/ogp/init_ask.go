package main

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"charm.land/huh/v2"
)

// The ways in which others can reach this gateway.
const (
	reachOwn        = "own"        // a host name of one's own
	reachTunnel     = "tunnel"     // a tunnel's URL
	reachRendezvous = "rendezvous" // our address, as a rendezvous sees it
	reachHere       = "here"       // this machine alone
)

// ask asks what no flag has said. The questions are drawn on standard error, so
// that what is printed is the result alone.
func (i *initializer) ask(ctx context.Context) error {
	p, c := &i.plan, i.cfg
	fill := func(flag string, value *string, now string) {
		if !i.given(flag) {
			*value = now
		}
	}
	fill("display-name", &p.DisplayName, c.DisplayName)
	fill("email", &p.Email, c.Email)
	fill("gateway-url", &p.GatewayURL, c.GatewayURL)
	fill("rendezvous-url", &p.RendezvousURL, c.Rendezvous.URL)
	if !i.given("rendezvous") {
		p.Rendezvous = c.Rendezvous.Enabled || i.given("rendezvous-url")
	}
	i.reach = reachHere
	switch {
	case p.GatewayURL != "":
		i.reach = reachOwn
	case p.Rendezvous:
		i.reach = reachRendezvous
	}
	form := i.form(p, func(flag string) bool { return !i.given(flag) })
	if form == nil {
		return nil
	}
	err := form.WithInput(i.app.in).WithOutput(i.app.err).WithAccessible(i.app.getenv("ACCESSIBLE") != "" || !i.app.colours(i.app.err)).RunWithContext(ctx)
	if errors.Is(err, huh.ErrUserAborted) {
		return context.Canceled
	}
	if i.reach == reachRendezvous || i.reach == reachHere {
		p.GatewayURL = ""
	}
	i.legacy = nil // it was asked
	return err
}

// form are the questions that are wanted, or nil.
func (i *initializer) form(p *initPlan, wanted func(flag string) bool) *huh.Form {
	var groups []*huh.Group
	add := func(flag string, fields ...huh.Field) *huh.Group {
		g := huh.NewGroup(fields...)
		if wanted(flag) {
			groups = append(groups, g)
		}
		return g
	}
	if len(i.legacy) > 0 {
		options := []huh.Option[string]{}
		for _, f := range i.legacy {
			options = append(options, huh.NewOption("Take over "+f.Dir+", which is only read", f.Dir))
		}
		options = append(options, huh.NewOption("Begin anew", ""))
		add("import", huh.NewSelect[string]().Title("A TypeScript gateway is here. Keep its identity and its friends?").Options(options...).Value(&p.Import))
	}
	add("display-name", huh.NewInput().Title("What is this gateway called?").Description("Others see it on your card.").Value(&p.DisplayName))
	add("email", huh.NewInput().Title("Your e-mail address?").Description("On the card, too. Empty: none.").Value(&p.Email))
	add("gateway-url", huh.NewSelect[string]().Title("How do others reach this machine?").Options(
		huh.NewOption("By a host name of mine, with a proxy or its own certificate", reachOwn),
		huh.NewOption("By a tunnel, such as cloudflared or tailscale funnel", reachTunnel),
		huh.NewOption("At its address, which a rendezvous tells them", reachRendezvous),
		huh.NewOption("Not at all: I try it out on this machine", reachHere),
	).Value(&i.reach))
	add("gateway-url", huh.NewInput().Title("The URL that they use?").Placeholder("https://ogp.example.org").Value(&p.GatewayURL).Validate(checkGatewayURL)).
		WithHideFunc(func() bool { return i.reach != reachOwn && i.reach != reachTunnel })
	add("rendezvous", huh.NewConfirm().Title("Register with a rendezvous?").Description("It lets others find you by a short code. It keeps your key and address, and carries no messages.").Value(&p.Rendezvous)).
		WithHideFunc(func() bool { return i.reach == reachRendezvous })
	add("rendezvous-url", huh.NewInput().Title("The rendezvous server's URL?").Placeholder("https://rendezvous.example.org").Value(&p.RendezvousURL).Validate(checkGatewayURL)).
		WithHideFunc(func() bool {
			if i.reach == reachRendezvous {
				p.Rendezvous = true
			}
			return !p.Rendezvous
		})
	if i.openclaw.Token && wanted("openclaw-token") {
		p.Token = tokenAuto
		if i.cfg.OpenClawHooksToken.IsSet() {
			p.Token = tokenKeep
		}
		add("openclaw-token", huh.NewSelect[string]().Title("OpenClaw is here. Where may its hooks token be read?").Options(
			huh.NewOption("In OpenClaw's own file, at each use; nothing is copied", tokenAuto),
			huh.NewOption("In the variable OPENCLAW_HOOKS_TOKEN", "${OPENCLAW_HOOKS_TOKEN}"),
			huh.NewOption("As config.toml says it now", tokenKeep),
		).Value(&p.Token))
	}
	if i.openclaw.Token {
		add("no-test-call", huh.NewConfirm().Title("Call OpenClaw once, to see that it works?").Description("Its agent runs once, and is told that there is nothing to do.").Value(&p.TestCall))
	}
	if !i.view.Running {
		p.Start = true
		add("start", huh.NewConfirm().Title("Start the gateway now?").Value(&p.Start))
	}
	if len(groups) == 0 {
		return nil
	}
	return huh.NewForm(groups...)
}

// checkGatewayURL is what a person is told at once; config says it again.
func checkGatewayURL(text string) error {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("a URL such as https://ogp.example.org")
	}
	return nil
}
