package setup

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"charm.land/huh/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
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
	questions := i.questions(p)
	if len(questions) == 0 {
		return nil
	}
	err := i.put(ctx, questions)
	if errors.Is(err, huh.ErrUserAborted) {
		return context.Canceled
	}
	if i.reach == reachRendezvous && !i.given("rendezvous") {
		p.Rendezvous = true
	}
	if i.reach == reachRendezvous || i.reach == reachHere {
		p.GatewayURL = ""
	}
	i.legacy = nil // it was asked
	return err
}

// question is one question, which answers before it can make needless.
type question struct {
	field   huh.Field
	needful func() bool // nil: always
}

// put asks the questions: on a form where one can go back, or one after the other
// for whoever wants that (ACCESSIBLE) or has a terminal that can do no more.
func (i *initializer) put(ctx context.Context, questions []question) error {
	if i.app.Getenv("ACCESSIBLE") != "" || i.app.Getenv("TERM") == "dumb" {
		for _, q := range questions {
			if q.needful != nil && !q.needful() {
				continue
			}
			if err := q.field.RunAccessible(plainWriter{i.app.Err}, byteReader{i.app.In}); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	}
	groups := make([]*huh.Group, len(questions))
	for n, q := range questions {
		groups[n] = huh.NewGroup(q.field)
		if q.needful != nil {
			groups[n].WithHideFunc(func() bool { return !q.needful() })
		}
	}
	// Whoever goes back need not have filled in what is shown: it is asked again on the
	// way forward.
	back := tea.WithFilter(func(_ tea.Model, msg tea.Msg) tea.Msg {
		if key, ok := msg.(tea.KeyPressMsg); ok {
			i.back.Store(key.String() == "shift+tab")
		}
		return msg
	})
	return huh.NewForm(groups...).WithInput(i.app.In).WithOutput(i.app.Err).WithProgramOptions(back).RunWithContext(ctx)
}

// plainWriter leaves out colours.
type plainWriter struct{ w io.Writer }

func (p plainWriter) Write(b []byte) (int, error) {
	_, err := io.WriteString(p.w, ansi.Strip(string(b)))
	return len(b), err
}

// byteReader gives one byte at a time, so that a question reads no further than its
// line.
type byteReader struct{ r io.Reader }

func (r byteReader) Read(b []byte) (int, error) { return r.r.Read(b[:min(len(b), 1)]) }

// questions are those that no flag has answered.
func (i *initializer) questions(p *initPlan) []question {
	var out []question
	add := func(flag string, field huh.Field, needful func() bool) {
		if !i.given(flag) {
			out = append(out, question{field, needful})
		}
	}
	hasURL := func() bool { return i.reach == reachOwn || i.reach == reachTunnel }
	usesRendezvous := func() bool { return p.Rendezvous || i.reach == reachRendezvous }
	if len(i.legacy) > 0 {
		options := []huh.Option[string]{}
		for _, f := range i.legacy {
			options = append(options, huh.NewOption("Take over "+f.Dir+", which is only read", f.Dir))
		}
		options = append(options, huh.NewOption("Start with a new identity", ""))
		add("import", huh.NewSelect[string]().Title("A TypeScript gateway is here. Keep its identity and its peers?").Options(options...).Value(&p.Import), nil)
	}
	add("display-name", huh.NewInput().Title("What is this gateway called?").Description("Others see it on your card.").Value(&p.DisplayName).Validate(i.unlessBack(checkName)), nil)
	add("email", huh.NewInput().Title("Your e-mail address?").Description("On the card, too. Empty: none.").Value(&p.Email).Validate(i.unlessBack(checkEmail)), nil)
	add("gateway-url", huh.NewSelect[string]().Title("How do others reach this machine?").Options(
		huh.NewOption("By a host name of mine, with a proxy or its own certificate", reachOwn),
		huh.NewOption("By a tunnel, such as cloudflared or tailscale funnel", reachTunnel),
		huh.NewOption("At its IP address, which a rendezvous gives them", reachRendezvous),
		huh.NewOption("Not at all: I am only trying it out on this machine", reachHere),
	).Value(&i.reach), nil)
	add("gateway-url", huh.NewInput().Title("The URL that they use?").Placeholder("https://ogp.example.org").Value(&p.GatewayURL).Validate(i.unlessBack(checkGatewayURL)), hasURL)
	add("rendezvous", huh.NewConfirm().Title("Register with a rendezvous?").
		Description("It lets others find you by a short code. It keeps your key and address, and carries no messages.").Value(&p.Rendezvous),
		func() bool { return i.reach != reachRendezvous })
	add("rendezvous-url", huh.NewInput().Title("The rendezvous server's URL?").Placeholder("https://rendezvous.example.org").Value(&p.RendezvousURL).Validate(i.unlessBack(checkGatewayURL)), usesRendezvous)
	if i.openclaw.Err == nil && !i.openclaw.File.Hooks.Enabled {
		add("openclaw-token", huh.NewConfirm().Title("OpenClaw is here, but its webhooks are off. Switch them on?").
			Description("This runs:\n"+strings.Join(hookCommands, "\n")).Value(&p.EnableHooks), nil)
	}
	if i.openclaw.Err == nil {
		if !i.given("openclaw-answers") {
			p.Answers = cmp.Or(strings.Join(i.cfg.OpenClawAnswers, ","), answersNone)
		}
		options := []huh.Option[string]{
			huh.NewOption("It is notified of them, and answers with a tool when it chooses to", answersNone),
			huh.NewOption("All, by itself: what it says goes back to the peer", answersAll),
			huh.NewOption("Questions of other agents by itself (agent-comms, task-request); it is notified of the rest", "agent-comms,task-request"),
		}
		if !slices.ContainsFunc(options, func(o huh.Option[string]) bool { return o.Value == p.Answers }) {
			options = append(options, huh.NewOption("As config.toml says it now: "+p.Answers, p.Answers))
		}
		add("openclaw-answers", huh.NewSelect[string]().Title("What does OpenClaw's agent do with peers' messages?").Options(options...).Value(&p.Answers), nil)
		if i.needsA2A() {
			add("openclaw-answers", huh.NewConfirm().Title("OpenClaw's A2A channel is off. Switch it on?").
				Description("This runs:\n"+strings.Join(a2aCommands, "\n")).Value(&p.EnableA2A), func() bool { return p.Answers != answersNone })
		}
	}
	if i.openclaw.Token {
		if !i.given("openclaw-token") {
			p.Token = tokenAuto
			if i.cfg.OpenClawHooksToken.IsSet() {
				p.Token = tokenKeep
			}
		}
		add("openclaw-token", huh.NewSelect[string]().Title("OpenClaw is here. Where may its hooks token be read?").Options(
			huh.NewOption("In OpenClaw's own file, at each use; nothing is copied", tokenAuto),
			huh.NewOption("In the variable OPENCLAW_HOOKS_TOKEN", "${OPENCLAW_HOOKS_TOKEN}"),
			huh.NewOption("As config.toml says it now", tokenKeep),
		).Value(&p.Token), nil)
		add("no-test-call", huh.NewConfirm().Title("Call OpenClaw once, to see that it works?").
			Description("Its agent runs once, and is told that there is nothing to do.").Value(&p.TestCall), nil)
	}
	if !i.view.Running && !i.given("start") {
		p.Start = true
		add("start", huh.NewConfirm().Title("Start the gateway now?").Value(&p.Start), nil)
	}
	return out
}

// unlessBack checks what is typed, but not for whoever goes back.
func (i *initializer) unlessBack(check func(string) error) func(string) error {
	return func(text string) error {
		if i.back.Load() {
			return nil
		}
		return check(text)
	}
}

// checkName takes what can stand on a card.
func checkName(text string) error {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("a name without control characters")
	}
	return nil
}

// checkEmail takes an address, or none.
func checkEmail(text string) error {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	if a, err := mail.ParseAddress(text); err != nil || a.Address != text {
		return errors.New("an address such as ada@example.org, or nothing")
	}
	return nil
}

// asURL is a URL as a person writes it, a host alone or with the card's path, in full.
func asURL(text string) string {
	text = strings.TrimSpace(text)
	if text == "" || strings.Contains(text, "://") && !strings.Contains(text, "/.well-known/") {
		return text
	}
	if whole, err := cli.GatewayURL(text); err == nil {
		return whole
	}
	return text
}

// checkGatewayURL is what a person is told at once; config says it again.
func checkGatewayURL(text string) error {
	u, err := url.Parse(asURL(text))
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("a URL such as https://ogp.example.org")
	}
	return nil
}
