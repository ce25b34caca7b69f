package trial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// openPanel loads the policies of this gateway, and a candidate, beside the gateway.
func openPanel(ctx context.Context, a *cli.App, with string, instances int) (*hooks.Manager, error) {
	installed, o, err := ofGateway(ctx, a)
	if err != nil {
		return nil, err
	}
	o.Log = io.Discard // what keeps a policy from loading is in the error
	return daemon.Panel(ctx, o, installed, with, instances)
}

// The fates of messages and requests.
const (
	allowed  = "allowed"
	approved = "approved"
	waits    = "waits" // a request that a person decides about
	held     = "held"
	refused  = "refused"
	failed   = "failed" // the policies could not say
)

func fateOf(kind core.Hook, d core.Decision) string {
	switch {
	case d == core.Deny:
		return refused
	case kind == core.HookRequest && d == core.Allow:
		return approved
	case kind == core.HookRequest:
		return waits
	case d == core.Hold:
		return held
	}
	return allowed
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
		Long: "Ask the policies about a message of the inbox, or about a case, one after the other, and show what each of them and each rule says. Of a message it also shows what was decided when it came.\n\n  ogp policy explain last",
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := explain(cmd.Context(), a, args[0])
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(v)
			} else {
				showExplained(a, v)
			}
			return nil
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
		v.ID, v.Then = d.InboxID, &decidedView{fateOf(d.Kind, d.Verdict), d.At, d.Policy, d.Rule, d.Reason}
	}
	m, err := openPanel(ctx, a, "", 1)
	if err != nil {
		return v, err
	}
	defer m.Close()
	m.Remember([]core.Question{q})
	verdict, steps, err := m.Judge(ctx, q, true)
	v.Kind, v.From, v.Steps, v.Decision = q.Kind, q.Peer.Name(), steps, verdict.Decision
	v.Now = decidedView{Fate: fateOf(q.Kind, verdict.Decision), Policy: verdict.Policy, Rule: verdict.Rule, Reason: verdict.Reason}
	if err != nil {
		v.Now = decidedView{Fate: failed, Reason: err.Error()}
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

type replayView struct {
	With      string         `json:"with,omitempty"`
	Since     time.Time      `json:"since,omitzero"`
	Decisions int            `json:"decisions"` // that were asked about again
	Withheld  int            `json:"withheld"`  // that could not be, as their payload is not on record
	LeftOut   bool           `json:"leftOut"`   // there were more than one replay takes
	Same      int            `json:"same"`
	Changed   []changedView  `json:"changed"` // those with most first
	Now       map[string]int `json:"now"`     // how many of each fate
	Policies  []paceView     `json:"policies"`
}

// changedView are those whose fate changes in the same way.
type changedView struct {
	Count   int           `json:"count"`
	Kind    core.Hook     `json:"kind"`
	From    string        `json:"from"`
	Intent  string        `json:"intent,omitempty"`
	Then    string        `json:"then"`
	Now     string        `json:"now"`
	Policy  string        `json:"policy,omitempty"` // that decides now, or where none does: that decided then
	Rule    string        `json:"rule,omitempty"`
	Example []exampleView `json:"examples"`
}

type exampleView struct {
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
	Text   string    `json:"text,omitempty"`
}

// paceView is how long a policy took, and what its calls cost.
type paceView struct {
	Policy    string  `json:"policy"`
	Calls     int     `json:"calls"`
	P50Micros float64 `json:"p50Micros"`
	P99Micros float64 `json:"p99Micros"`
	Work      int64   `json:"work"` // units of work of a call, at the median
	MostWork  int64   `json:"mostWork"`
}

// ReplayCommand is "ogp policy replay".
func ReplayCommand(a *cli.App) *cobra.Command {
	var since, with string
	cmd := &cobra.Command{
		Use: "replay", Short: "Ask the policies again about what has come", Args: cobra.NoArgs,
		Long: "Ask the policies again about the messages and requests that came, those that were refused or held, too, and show whose fate would be another one. --with asks a candidate: a module, in place of the plugin of its name or beside the others, or a file with [[rules]], in place of the rules. It runs beside the gateway and changes nothing.\n\n  ogp policy replay --since 30d --with rules.toml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := core.ParseDuration(since)
			if err != nil || d <= 0 {
				return cli.Usagef("--since %q: want a duration such as 24h or 30d", since)
			}
			v, err := replay(cmd.Context(), a, time.Now().Add(-d), with)
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(v)
			} else {
				showReplay(a, v)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&since, "since", "30d", "of the last 24h, 7d, 30d, ...")
	cmd.Flags().StringVar(&with, "with", "", "a candidate: a module, or a .toml file with [[rules]]")
	return cmd
}

// maxReplay bounds what one replay holds in memory, in bytes of payloads and the rest.
const maxReplay = 256 << 20

func replay(ctx context.Context, a *cli.App, since time.Time, with string) (replayView, error) {
	v := replayView{With: with, Since: since.UTC().Truncate(time.Second), Changed: []changedView{}, Now: map[string]int{}, Policies: []paceView{}}
	workers := max(runtime.GOMAXPROCS(0), 1)
	m, err := openPanel(ctx, a, with, workers)
	if err != nil {
		return v, err
	}
	defer m.Close()
	list, err := v.read(ctx, a, since)
	if err != nil {
		return v, err
	}
	questions := make([]core.Question, len(list))
	for i := range list {
		questions[i] = list[i].Question(list[i].Payload)
	}
	m.Remember(questions)
	outcomes := make([]outcome, len(list))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(list) && ctx.Err() == nil; i += workers {
				outcomes[i].verdict, outcomes[i].steps, outcomes[i].err = m.Judge(ctx, questions[i], false)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return v, ctx.Err()
	}
	v.sum(list, outcomes)
	return v, nil
}

type outcome struct {
	verdict core.Verdict
	steps   []hooks.Step
	err     error
}

// read collects what came: what is on record, and of the inbox what is not.
func (v *replayView) read(ctx context.Context, a *cli.App, since time.Time) (list []api.DecisionView, err error) {
	recorded := map[string]bool{}
	size := 0
	for p := (api.DecisionsParams{Since: since}); ; {
		page, _, err := cli.OnState(ctx, a, api.PolicyDecisions, p, false)
		if err != nil {
			return nil, err
		}
		for _, d := range page.Decisions {
			if d.NotAsked && recorded[d.InboxID] {
				continue
			}
			recorded[d.InboxID] = true
			size += 1000 + len(d.Payload)
			if d.Message != nil {
				size += len(d.Message.Payload)
			}
			list = append(list, d)
		}
		if v.LeftOut = size > maxReplay && page.Next != ""; v.LeftOut || page.Next == "" {
			break
		}
		p.Before = page.Next
	}
	slices.SortStableFunc(list, func(x, y api.DecisionView) int { return x.At.Compare(y.At) })
	return list, nil
}

const maxExamples = 3

func (v *replayView) sum(list []api.DecisionView, outcomes []outcome) {
	type group struct {
		kind                                  core.Hook
		from, intent, then, now, policy, rule string
	}
	groups := map[group]*changedView{}
	paces := map[string]*[2][]int64{}
	for i, d := range list {
		o := outcomes[i]
		for _, s := range o.steps {
			if p := paces[s.Policy]; p == nil {
				paces[s.Policy] = &[2][]int64{}
			}
			p := paces[s.Policy]
			p[0], p[1] = append(p[0], s.Took.Nanoseconds()), append(p[1], s.Work)
		}
		if errors.Is(o.err, hooks.ErrWithheld) {
			v.Withheld++
			continue
		}
		v.Decisions++
		then, now := fateOf(d.Kind, d.Verdict), fateOf(d.Kind, o.verdict.Decision)
		policy, rule, reason := o.verdict.Policy, o.verdict.Rule, o.verdict.Reason
		if o.err != nil {
			now, reason = failed, o.err.Error()
		}
		v.Now[now]++
		if then == now {
			v.Same++
			continue
		}
		if policy == "" {
			policy, rule, reason = d.Policy, d.Rule, d.Reason
		}
		g := group{d.Kind, fromName(d), "", then, now, policy, rule}
		if d.Message != nil {
			g.intent = d.Message.Intent
		}
		c := groups[g]
		if c == nil {
			c = &changedView{Kind: g.kind, From: g.from, Intent: g.intent, Then: then, Now: now, Policy: policy, Rule: rule}
			groups[g] = c
		}
		c.Count++
		if len(c.Example) < maxExamples {
			e := exampleView{ID: cmp.Or(d.InboxID, d.ID), At: d.At, Reason: reason}
			if d.Message != nil {
				payload := d.Message.Payload
				if len(payload) == 0 {
					payload = d.Payload
				}
				e.Text = api.OneLine(payload)
			}
			c.Example = append(c.Example, e)
		}
	}
	for _, c := range groups {
		v.Changed = append(v.Changed, *c)
	}
	slices.SortFunc(v.Changed, func(x, y changedView) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), x.Example[0].At.Compare(y.Example[0].At), cmp.Compare(x.Now, y.Now))
	})
	for name, p := range paces {
		slices.Sort(p[0])
		slices.Sort(p[1])
		n := len(p[0])
		at := func(share float64) int { return min(int(share*float64(n)), n-1) }
		v.Policies = append(v.Policies, paceView{Policy: name, Calls: n, P50Micros: float64(p[0][at(0.5)]) / 1000, P99Micros: float64(p[0][at(0.99)]) / 1000,
			Work: p[1][at(0.5)], MostWork: p[1][n-1]})
	}
	slices.SortFunc(v.Policies, func(x, y paceView) int { return cmp.Compare(x.Policy, y.Policy) })
}

func showReplay(a *cli.App, v replayView) {
	if len(v.Changed) > 0 {
		rows := make([][]string, len(v.Changed))
		for i, c := range v.Changed {
			by := c.Policy
			if c.Rule != "" {
				by = c.Rule
			}
			e := c.Example[0]
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
		fmt.Fprintf(a.Err, "%s could not be asked about again, as the payload is not on record; policy.record_payloads = true records it\n", text.Count(v.Withheld, "message", "messages"))
	}
	if v.LeftOut {
		fmt.Fprintf(a.Err, "There was more than one replay takes; a shorter --since takes all of it\n")
	}
	fmt.Fprintf(a.Err, "%s: %d as decided then, %d otherwise\n", text.Count(v.Decisions, "decision", "decisions"), v.Same, v.Decisions-v.Same)
}

// fromName is what we called the peer then.
func fromName(d api.DecisionView) string { return cmp.Or(d.Then.Alias, d.Peer.Fingerprint()) }
