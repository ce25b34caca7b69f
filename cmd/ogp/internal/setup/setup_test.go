package setup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/settings"
)

// site is a state directory and an environment.
type site struct {
	t   *testing.T
	dir string
	env []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{t: t, dir: t.TempDir(), env: []string{"HOME=" + t.TempDir()}}
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// wizard answers the questions of init with lines, as a screen reader's user does.
func (s *site) wizard(given []string, lines ...string) (i *initializer, asked string) {
	s.t.Helper()
	var out, questions bytes.Buffer
	a := &cli.App{In: strings.NewReader(strings.Join(lines, "\n") + "\n"), Out: &out, Err: &questions, Env: append(s.env, "ACCESSIBLE=1"), Home: s.dir}
	cmd := &cobra.Command{}
	cmd.SetContext(s.t.Context())
	i = &initializer{app: a, cmd: cmd, wizard: true, given: func(name string) bool {
		for _, g := range given {
			if g == name {
				return true
			}
		}
		return false
	}}
	if err := i.look(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	i.plan.DisplayName, i.plan.RendezvousURL = i.cfg.DisplayName, i.cfg.Rendezvous.URL // as flags would
	if err := i.ask(s.t.Context()); err != nil {
		s.t.Fatalf("ask: %v\n%s", err, questions.String())
	}
	if out.Len() > 0 {
		s.t.Errorf("the questions are on standard output: %q", out.String())
	}
	return i, questions.String()
}

func TestInitAsksWhatNoFlagSays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	// name, e-mail, how reached: 1 a host name, its URL, a rendezvous, its URL, start
	i, asked := s.wizard(nil, "Ada", "ada@a.example", "1", "https://ogp.a.example", "y", "https://r.example", "n")
	p := i.plan
	if p.DisplayName != "Ada" || p.Email != "ada@a.example" || p.GatewayURL != "https://ogp.a.example" || !p.Rendezvous || p.RendezvousURL != "https://r.example" || p.Start {
		t.Errorf("the plan is %+v, after\n%s", p, asked)
	}
	changes, err := i.changes()
	if err != nil || len(changes) != 5 {
		t.Fatalf("changes %v, %v, want 5", changes, err)
	}
	if err := i.write(); err != nil {
		t.Fatal(err)
	}
	if i.cfg.DisplayName != "Ada" || !i.cfg.Rendezvous.Enabled || i.cfg.GatewayURL != "https://ogp.a.example" {
		t.Errorf("in force is %+v", i.cfg)
	}
	// Whoever takes every answer as it stands changes nothing.
	before, err := os.ReadFile(filepath.Join(s.dir, daemon.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	i, asked = s.wizard(nil, "", "", "", "", "", "", "")
	if changes, err := i.changes(); err != nil || len(changes) != 0 {
		t.Errorf("changes %v, %v after\n%s", changes, err, asked)
	}
	if after, _ := os.ReadFile(filepath.Join(s.dir, daemon.ConfigFile)); !bytes.Equal(before, after) {
		t.Error("the file has changed")
	}
	// What a flag has said is not asked.
	_, asked = s.wizard([]string{"display-name", "email", "gateway-url", "rendezvous", "rendezvous-url"}, "n")
	if strings.Contains(asked, "called") || strings.Contains(asked, "rendezvous") || !strings.Contains(asked, "Start the gateway now?") {
		t.Errorf("asked was\n%s", asked)
	}
}

func TestInitAsksWhereTheTokenIs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("openclaw.json", "{gateway: {port: 2}, hooks: {enabled: true, token: 'sekrit'}}")
	s.env = append(s.env, "OPENCLAW_CONFIG_PATH="+filepath.Join(s.dir, "openclaw.json"))
	rest := []string{"display-name", "email", "gateway-url", "rendezvous", "rendezvous-url", "start"}
	i, asked := s.wizard(rest, "1", "1", "n") // hears alone, where its token is, no call
	if i.plan.Token != tokenAuto || i.plan.TestCall {
		t.Errorf("the plan is %+v, after\n%s", i.plan, asked)
	}
	changes, err := i.changes()
	if err != nil || len(changes) != 1 || changes[0] != (settings.Setting{Key: "openclaw_url", Value: "http://localhost:2"}) {
		t.Errorf("changes %v, %v, want the URL alone", changes, err)
	}
	i, _ = s.wizard(rest, "1", "2", "n")
	if err := i.write(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, daemon.ConfigFile))
	if err != nil || !bytes.Contains(text, []byte("\nopenclaw_hooks_token = \"${OPENCLAW_HOOKS_TOKEN}\"\n")) || bytes.Contains(text, []byte("sekrit")) {
		t.Errorf("the file has\n%s", text)
	}
}

// One question says what OpenClaw answers by itself; what OpenClaw needs for that is shown,
// and done by its own command.
func TestInitAsksWhatOpenClawAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("openclaw.json", "{hooks: {enabled: true, token: 'sekrit'}}")
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "openclaw"), []byte("#!/bin/sh\necho \"$*\" >>"+s.dir+"/ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = append(s.env, "OPENCLAW_CONFIG_PATH="+filepath.Join(s.dir, "openclaw.json"))
	rest := []string{"display-name", "email", "gateway-url", "rendezvous", "rendezvous-url", "start", "openclaw-token", "no-test-call"}
	i, asked := s.wizard(rest, "3", "n")
	if err := i.write(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(i.cfg.OpenClawAnswers, " "); got != "agent-comms task-request" || !strings.Contains(asked, "A2A channel is off") {
		t.Errorf("answers %q, after\n%s", got, asked)
	}
	if err := i.enableA2A(t.Context()); err != nil || len(i.view.Checks) != 1 || !strings.Contains(i.view.Checks[0].Fix, "channels.a2a.peers.ogp.token") {
		t.Errorf("%v, checks %+v; want the commands", err, i.view.Checks)
	}
	t.Run("with its command", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("Windows: the stand-in for openclaw is a shell script")
		}
		i, _ := s.wizard(rest, "2", "y")
		if err := i.write(); err != nil {
			t.Fatal(err)
		}
		i.program = filepath.Join(bin, "openclaw")
		if err := i.enableA2A(t.Context()); err != nil || len(i.view.Checks) != 0 {
			t.Fatalf("%v, checks %+v", err, i.view.Checks)
		}
		ran, err := os.ReadFile(filepath.Join(s.dir, "ran"))
		if err != nil || !regexp.MustCompile(`^config set channels\.a2a\.peers\.ogp\.token [0-9a-f]{48}\nconfig set channels\.a2a\.enabled true\n$`).Match(ran) {
			t.Errorf("it ran %q, %v", ran, err)
		}
	})
	i, _ = s.wizard(rest, "1")
	if err := i.write(); err != nil || len(i.cfg.OpenClawAnswers) != 0 {
		t.Errorf("none: %v, %v", i.cfg.OpenClawAnswers, err)
	}
}

// Where OpenClaw's own program is missing, that is said once, with the commands.
func TestInitWithoutOpenClawsProgram(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("openclaw.json", "{hooks: {enabled: false}}")
	s.env = append(s.env, "OPENCLAW_CONFIG_PATH="+filepath.Join(s.dir, "openclaw.json"))
	i, _ := s.wizard([]string{"display-name", "email", "gateway-url", "rendezvous", "rendezvous-url", "start", "openclaw-token", "openclaw-answers"})
	i.plan.EnableHooks, i.program = true, "openclaw-that-nobody-has"
	if err := errors.Join(i.write(), i.enableHooks(t.Context()), i.test(t.Context())); err != nil {
		t.Fatal(err)
	}
	if c := i.view.Checks; len(c) != 1 || !strings.HasSuffix(c[0].Text, "there is no program openclaw on the PATH") || !strings.Contains(c[0].Fix, "hooks.enabled true") {
		t.Errorf("checks %+v", c)
	}
}

// Whoever goes back from a field that is not right can, and on the way forward it is
// asked again.
func TestShiftTabLeavesAnInvalidField(t *testing.T) {
	s := newSite(t)
	i := &initializer{app: &cli.App{Env: s.env, Home: s.dir}}
	check := i.unlessBack(checkGatewayURL)
	if check("nonsense") == nil {
		t.Error("nonsense is taken for a URL")
	}
	i.back.Store(true)
	if err := check("nonsense"); err != nil {
		t.Errorf("going back: %v", err)
	}
	i.back.Store(false)
	if check("nonsense") == nil {
		t.Error("nonsense is taken for a URL after going back")
	}
}

func TestFieldsAreCheckedForWhatTheyAre(t *testing.T) {
	for _, c := range []struct {
		check     func(string) error
		good, bad []string
	}{
		{checkGatewayURL, []string{"https://ogp.example.org", " http://localhost:1 ", "ogp.example.org", "localhost:18790", "https://ogp.example.org/.well-known/ogp"}, []string{"", "ada@example.org", "https://ada@example.org", "ogp example", "ogp"}},
		{checkEmail, []string{"", "ada@example.org"}, []string{"https://ogp.example.org", "Ada <ada@example.org>", "ada"}},
		{checkName, []string{"", "Ada & Söhne"}, []string{"a\x1b[2J"}},
	} {
		for _, text := range c.good {
			if err := c.check(text); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
		for _, text := range c.bad {
			if c.check(text) == nil {
				t.Errorf("%q was taken", text)
			}
		}
	}
}
