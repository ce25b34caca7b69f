package trial

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/text"
)

type replayView struct {
	Plugin   string     `json:"plugin"`
	Messages int        `json:"messages"`
	Refused  int        `json:"refused"` // would be, now
	Held     int        `json:"held"`
	Released int        `json:"released"` // held then, and not now
	Failed   int        `json:"failed"`   // the policy could not say: the peer would be told to try later
	Changed  []fateView `json:"changed"`  // the newest first
}

type fateView struct {
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	Intent string    `json:"intent"`
	Then   string    `json:"then"` // allowed, held
	Now    string    `json:"now"`  // allowed, held, refused, failed
	Code   string    `json:"code,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Text   string    `json:"text"`
}

func replayInbox(ctx context.Context, a *cli.App, t *trials, f *Found, since string) error {
	if !slices.Contains(f.Module.Manifest.Hooks, plugin.Message) {
		return cli.Usagef("--replay asks policies about messages, and the plugin answers %s", Hooks(f.Module.Manifest.Hooks))
	}
	var p api.ReplayParams
	if since != "" {
		d, err := core.ParseDuration(since)
		if err != nil || d <= 0 {
			return cli.Usagef("--since %q: want a duration such as 24h or 7d", since)
		}
		p.Since = time.Now().Add(-d)
	}
	loaded, err := t.load(ctx, f, pluginCase{})
	if err != nil {
		return notLoaded(err)
	}
	defer loaded.Close()
	policy := hooks.PolicyOf(loaded)
	v := replayView{Plugin: loaded.Info().Name, Changed: []fateView{}}
	for {
		page, _, err := cli.OnState(ctx, a, api.PluginInbox, p, false)
		if err != nil {
			return err
		}
		for _, m := range page.Messages {
			v.add(ctx, policy, m)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if p.Before = page.Next; page.Next == "" {
			break
		}
	}
	if a.JSON {
		a.WriteJSON(v)
		return nil
	}
	showReplay(a, v)
	return nil
}

// add asks the policy about a message as it was asked then.
func (v *replayView) add(ctx context.Context, policy core.Policy, x api.ReplayMessage) {
	m := x.Message
	fate := fateView{ID: m.ID, At: m.At, From: x.Peer.Name(), Intent: m.Message.Intent, Then: "allowed", Now: "allowed", Text: api.OneLine(m.Message.Payload)}
	if m.Status == core.InboxHeld {
		fate.Then = "held"
	}
	verdict, err := policy.Decide(ctx, hooks.Asked(x.Peer, m))
	switch {
	case err != nil:
		fate.Now, fate.Reason = "failed", err.Error()
		v.Failed++
	case verdict.Decision == core.Deny:
		fate.Now = "refused"
		v.Refused++
	case verdict.Decision == core.Hold:
		fate.Now = "held"
		v.Held++
	case fate.Then == "held":
		v.Released++
	}
	v.Messages++
	if err == nil {
		fate.Code, fate.Reason = verdict.Code, verdict.Reason
	}
	if fate.Now != fate.Then {
		v.Changed = append(v.Changed, fate)
	}
}

func showReplay(a *cli.App, v replayView) {
	if len(v.Changed) > 0 {
		rows := make([][]string, len(v.Changed))
		for i, f := range v.Changed {
			why := strings.Join(strings.Fields(term.SafeText(f.Code+term.Optional(": ", f.Reason))), " ")
			rows[i] = []string{f.ID, text.Ago(f.At), f.From, f.Intent, f.Then, f.Now, term.Dash(why), f.Text}
		}
		term.Table(a.Out, []string{"ID", "CAME", "FROM", "INTENT", "THEN", "NOW", "WHY", "TEXT"}, rows)
	}
	fmt.Fprintf(a.Err, "%d messages: %s would refuse %d, hold %d and let %d held ones pass; it failed on %d\n",
		v.Messages, v.Plugin, v.Refused, v.Held, v.Released, v.Failed)
}
