package trial

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/replay"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// openPanel loads the policies of this gateway, and a candidate, beside the gateway.
func openPanel(ctx context.Context, a *cli.App, with string, instances int) (*hooks.Manager, error) {
	candidate, err := replay.ReadCandidate(with)
	if err != nil {
		return nil, err
	}
	installed, o, err := ofGateway(ctx, a)
	if err != nil {
		return nil, err
	}
	return daemon.Panel(ctx, o, installed, candidate, instances)
}

type explainView struct {
	ID       string        `json:"id,omitempty"`
	Kind     core.Hook     `json:"kind"`
	From     string        `json:"from,omitempty"`
	Then     *decidedView  `json:"then,omitempty"` // what was decided, where it is on record
	Now      decidedView   `json:"now"`
	Steps    []hooks.Step  `json:"steps"`
	Decision core.Decision `json:"decision"`
}

type decidedView struct {
	Fate   string    `json:"fate"`
	At     time.Time `json:"at,omitzero"`
	Policy string    `json:"policy,omitempty"`
	Rule   string    `json:"rule,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

func (d decidedView) words() string {
	by := ""
	switch {
	case d.Rule != "":
		by = fmt.Sprintf(" by rule %q", d.Rule)
	case d.Policy != "":
		by = " by " + d.Policy
	}
	return term.SafeText(d.Fate + by + term.Optional(": ", d.Reason))
}

// ExplainCommand is "ogp policy explain".
func ExplainCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "explain <inbox id | case file>", Short: "Show which rule or policy decides, and why", Args: cobra.ExactArgs(1),
		Long: "Ask the policies in turn about a message of the inbox or a case, and show what each policy and each rule says. For a message, also show what was decided when it arrived.\n\n  ogp policy explain last",
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := explain(cmd.Context(), a, args[0])
			if err != nil {
				return err
			}
			return a.Print(v, func() { showExplained(a, v) })
		},
	}
}

func explain(ctx context.Context, a *cli.App, ref string) (v explainView, err error) {
	var q core.Question
	if _, err := os.Stat(ref); err == nil || ref == "-" {
		c, err := readCase(a, ref)
		if err != nil {
			return v, err
		}
		if q, err = hooks.QuestionOf(c.Input); err != nil {
			return v, err
		}
	} else {
		page, _, err := cli.OnState(ctx, a, api.PolicyDecisions, api.DecisionsParams{ID: ref}, false)
		if err != nil {
			return v, err
		}
		d := page.Decisions[0]
		q = d.Question(d.Payload)
		v.ID, v.Then = d.InboxID, &decidedView{replay.FateOf(d.Kind, d.Verdict), d.At, d.Policy, d.Rule, d.Reason}
	}
	m, err := openPanel(ctx, a, "", 1)
	if err != nil {
		return v, err
	}
	defer m.Close()
	m.Remember([]core.Question{q})
	verdict, steps, err := m.Judge(ctx, q, true)
	v.Kind, v.From, v.Steps, v.Decision = q.Kind, q.Peer.Name(), steps, verdict.Decision
	v.Now = decidedView{Fate: replay.FateOf(q.Kind, verdict.Decision), Policy: verdict.Policy, Rule: verdict.Rule, Reason: verdict.Reason}
	if err != nil {
		v.Now = decidedView{Fate: api.FateFailed, Reason: err.Error()}
	}
	return v, nil
}

func showExplained(a *cli.App, v explainView) {
	if v.Then != nil {
		fmt.Fprintf(a.Out, "then  %s\n", v.Then.words())
	}
	fmt.Fprintf(a.Out, "now   %s\n", v.Now.words())
	if len(v.Steps) == 0 {
		fmt.Fprintf(a.Err, "No policy is asked about a %s.\n", v.Kind)
		return
	}
	rows := [][]string{}
	for _, s := range v.Steps {
		rows = append(rows, []string{s.Policy, cmp.Or(s.Error, string(s.Decision)), term.Dash(oneLine(s.Code + term.Optional(": ", s.Reason)))})
		for _, r := range s.Rules {
			says := "no"
			if r.Holds {
				says = r.Then
			}
			rows = append(rows, []string{"  " + r.Name, cmp.Or(r.Error, says), ""})
		}
	}
	for i := range rows {
		for j := range rows[i] {
			rows[i][j] = term.SafeText(rows[i][j])
		}
	}
	term.Table(a.Out, []string{"POLICY", "SAYS", "WHY"}, rows)
}

func oneLine(s string) string { return strings.Join(strings.Fields(term.SafeText(s)), " ") }

// ReplayCommand is "ogp policy replay".
func ReplayCommand(a *cli.App) *cobra.Command {
	var since, with string
	cmd := &cobra.Command{
		Use: "replay", Short: "Ask the policies again about what was received", Args: cobra.NoArgs,
		Long: "Ask the policies again about the messages and requests that were received, refused and held ones included, and show which would be decided differently. --with tries a candidate: a module, which replaces the plugin of its name or joins the others, or a .toml file with [[rules]], which replaces the rules. It runs outside the gateway and changes nothing.\n\n  ogp policy replay --since 30d --with rules.toml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := core.ParseDuration(since)
			if err != nil || d <= 0 {
				return cli.Usagef("--since %q: want a duration such as 24h or 30d", since)
			}
			v, err := runReplay(cmd.Context(), a, time.Now().Add(-d), with)
			if err != nil {
				return err
			}
			return a.Print(v, func() { showReplay(a, v) })
		},
	}
	cmd.Flags().StringVar(&since, "since", "30d", "of the last 24h, 7d, 30d, ...")
	cmd.Flags().StringVar(&with, "with", "", "a candidate: a module, or a .toml file with [[rules]]")
	return cmd
}

// maxReplay bounds what one replay holds in memory, in bytes of payloads and the rest.
const maxReplay = 256 << 20

func runReplay(ctx context.Context, a *cli.App, since time.Time, with string) (api.ReplayView, error) {
	workers := max(runtime.GOMAXPROCS(0), 1)
	m, err := openPanel(ctx, a, with, workers)
	if err != nil {
		return api.ReplayView{}, err
	}
	defer m.Close()
	ask := replay.Ask{Since: since, Workers: workers, MaxBytes: maxReplay, Page: func(ctx context.Context, p api.DecisionsParams) (api.DecisionsPage, error) {
		page, _, err := cli.OnState(ctx, a, api.PolicyDecisions, p, false)
		return page, err
	}}
	v, err := ask.Run(ctx, m)
	v.With = with
	return v, err
}

func showReplay(a *cli.App, v api.ReplayView) {
	if len(v.Changed) > 0 {
		rows := make([][]string, len(v.Changed))
		for i, c := range v.Changed {
			by := c.Policy
			if c.Rule != "" {
				by = c.Rule
			}
			e := c.Examples[0]
			rows[i] = []string{fmt.Sprint(c.Count), c.From, term.Dash(c.Intent), c.Then, c.Now, term.Dash(oneLine(by)), e.ID, term.Dash(oneLine(e.Reason)), e.Text}
			if c.Kind == core.HookRequest {
				rows[i][2] = "(request)"
			}
		}
		term.Table(a.Out, []string{"COUNT", "FROM", "INTENT", "THEN", "NOW", "BY", "EXAMPLE", "WHY", "TEXT"}, rows)
	}
	for _, p := range v.Policies {
		fmt.Fprintf(a.Err, "%s: %s, p50 %.1f us, p99 %.1f us, %d units of work\n", p.Policy, text.Count(p.Calls, "call", "calls"), p.P50Micros, p.P99Micros, p.Work)
	}
	if v.Withheld > 0 {
		fmt.Fprintf(a.Err, "%s could not be asked about again, as the payload was not recorded; policy.record_payloads = true records it\n", text.Count(v.Withheld, "message", "messages"))
	}
	if v.LeftOut {
		fmt.Fprintf(a.Err, "Only a part was replayed, as there is more on record than one replay covers; use a shorter --since\n")
	}
	fmt.Fprintf(a.Err, "%s: %d decided as before, %d differently\n", text.Count(v.Decisions, "decision", "decisions"), v.Same, v.Decisions-v.Same)
}
