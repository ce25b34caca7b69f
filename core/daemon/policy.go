package daemon

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// openRecord opens the record of what policies have decided.
func (d *Daemon) openRecord(ctx context.Context) (err error) {
	d.record, err = record.Open(ctx, d.store, recordSettings(d.config()), d.log)
	if err == nil {
		d.record.TextBytes = hooks.TextBytes
	}
	return err
}

func recordSettings(c *config.Config) record.Settings {
	return record.Settings{Keep: c.Policy.Record, Payloads: c.Policy.RecordPayloads}
}

// pruneRecordEvery is how often old decisions are deleted.
const pruneRecordEvery = 10 * time.Minute

func (d *Daemon) pruneRecord(ctx context.Context) error {
	prune := func(ctx context.Context) {
		if err := d.record.Prune(ctx, time.Now()); err != nil && ctx.Err() == nil {
			d.log.Warn("old decisions not deleted", "err", err)
		}
	}
	prune(ctx)
	return core.Every(ctx, pruneRecordEvery, prune)
}

// decisionsAtOnce is how many decisions, with payloads of 64 KiB at the most, go in
// one page.
const decisionsAtOnce = 100

// policyDecisions is the method "policy.decisions": what was decided, the newest
// first; then the messages of the inbox that no policy was asked about.
func (d *Daemon) policyDecisions(ctx context.Context, p api.DecisionsParams) (api.DecisionsPage, error) {
	if d.record == nil {
		if err := d.openRecord(ctx); err != nil {
			return api.DecisionsPage{}, err
		}
	}
	if p.ID != "" {
		return d.decisionAbout(ctx, p.ID)
	}
	before, inInbox := strings.CutPrefix(p.Before, inboxPage)
	if inInbox {
		return d.undecided(ctx, p.Since, before)
	}
	page := api.DecisionsPage{Decisions: []api.DecisionView{}}
	list, err := d.record.Page(ctx, p.Since, before, decisionsAtOnce)
	if err != nil {
		return page, err
	}
	for _, one := range list {
		if one.Kind == "" {
			continue
		}
		page.Decisions = append(page.Decisions, d.viewDecision(ctx, one))
	}
	if page.Next = inboxPage; len(list) == decisionsAtOnce {
		page.Next = list[len(list)-1].ID
	}
	return page, nil
}

// inboxPage begins the place of a page that is of the inbox.
const inboxPage = "inbox/"

// viewDecision adds what the inbox still has of it.
func (d *Daemon) viewDecision(ctx context.Context, one record.Decision) api.DecisionView {
	v := api.DecisionView{Decision: one}
	if one.InboxID != "" && len(one.Message.Payload) == 0 {
		if m, err := d.store.InboxMessage(ctx, one.InboxID); err == nil {
			v.Payload = m.Message.Payload
		}
	}
	return v
}

// undecided are the messages of the inbox, of which those that are recorded are told
// before; whoever asks knows which.
func (d *Daemon) undecided(ctx context.Context, since time.Time, before string) (api.DecisionsPage, error) {
	page := api.DecisionsPage{Decisions: []api.DecisionView{}}
	messages, err := d.store.Inbox(ctx, core.InboxFilter{Since: since, Before: before, Limit: decisionsAtOnce})
	if err != nil {
		return page, err
	}
	peers, err := d.peersByKey(ctx)
	if err != nil {
		return page, err
	}
	for _, m := range messages {
		if peer := peers[m.Peer]; peer != nil { // nobody can say of whom a forgotten peer's are
			page.Decisions = append(page.Decisions, keptView(peer, m))
		}
	}
	if len(messages) == decisionsAtOnce {
		page.Next = inboxPage + messages[len(messages)-1].ID
	}
	return page, nil
}

func (d *Daemon) peersByKey(ctx context.Context) (map[core.PublicKey]*core.Peer, error) {
	peers, err := d.store.Peers(ctx)
	byKey := map[core.PublicKey]*core.Peer{}
	for _, p := range peers {
		byKey[p.Key] = p
	}
	return byKey, err
}

// keptView is a message that no decision is recorded of: it came in, or was held.
func keptView(p *core.Peer, m *core.InboxMessage) api.DecisionView {
	q := hooks.Asked(p, m)
	v := api.DecisionView{NotAsked: true, Decision: record.Decision{ID: m.ID, InboxID: m.ID, At: m.At, Kind: core.HookMessage, Peer: m.Peer, Bytes: q.Bytes, Message: &m.Message,
		Topic: q.Topic, Verdict: core.Abstain, Reason: m.Reason, Then: record.Peer{Alias: cmp.Or(m.Alias, p.Alias), Tags: p.Tags, Trust: p.Trust, Names: p.Names, URL: p.URL, Offered: p.Offered}}}
	if p.Granted != nil {
		v.Then.Grants = p.Granted.Scopes
	}
	if m.Status == core.InboxHeld || m.Status == core.InboxDenied || m.Decided != nil {
		v.Verdict = core.Hold
	}
	return v
}

// decisionAbout finds what was decided about one message of the inbox.
func (d *Daemon) decisionAbout(ctx context.Context, id string) (page api.DecisionsPage, err error) {
	m, err := d.findInbox(ctx, id)
	if err != nil {
		return page, err
	}
	for before := ""; ; {
		list, err := d.record.Page(ctx, m.At.Add(-time.Minute), before, decisionsAtOnce)
		if err != nil {
			return page, err
		}
		for _, one := range list {
			if one.InboxID == m.ID {
				page.Decisions = append(page.Decisions, d.viewDecision(ctx, one))
				return page, nil
			}
			before = one.ID
		}
		if len(list) < decisionsAtOnce {
			break
		}
	}
	peers, err := d.peersByKey(ctx)
	if err != nil {
		return page, err
	}
	p := peers[m.Peer]
	if p == nil {
		p = &core.Peer{Key: m.Peer}
	}
	page.Decisions = append(page.Decisions, keptView(p, m))
	return page, nil
}

// Panel loads the policies of a state directory, given the plugins that are installed,
// into a manager of its own, with an empty store and without the power to send
// anything. with, where it is not empty, is a candidate: a module, in place of the
// plugin of its name or beside all, or a file with [[rules]] in place of the rules.
func Panel(ctx context.Context, o Options, installed []hooks.Installed, with string, instances int) (*hooks.Manager, error) {
	d, err := configured(o)
	if err != nil {
		return nil, err
	}
	wanted, err := d.wantedWith(installed)
	if err != nil {
		return nil, err
	}
	r := d.rules()
	if with != "" {
		if strings.EqualFold(filepath.Ext(with), ".toml") {
			r, err = candidateRules(with)
		} else {
			wanted, err = withModule(wanted, with)
		}
		if err != nil {
			return nil, err
		}
	}
	d.store = memory.New()
	m, err := hooks.New(hooks.Options{Store: d.store, CacheDir: panelCache(d.dir), Logger: d.log, AtMost: func() []core.Grant { return d.config().Grants.Default.Scopes() }})
	if err != nil {
		return nil, err
	}
	m.SetRules(ctx, r)
	if err := m.Apply(onlyPolicies(wanted, instances)); err != nil {
		m.Close()
		return nil, err
	}
	if err := m.Ready(ctx); err != nil {
		m.Close()
		return nil, err
	}
	for _, v := range m.List() {
		if v.Error != "" {
			m.Close()
			return nil, core.Refusef(core.Malformed, "policy %s does not load: %s", v.Name, v.Error)
		}
	}
	return m, nil
}

// panelCache is the gateway's own cache, where there is a gateway.
func panelCache(dir string) string {
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return filepath.Join(dir, CompileCache)
}

// onlyPolicies leaves out notifiers and handlers, and what reaches outside.
func onlyPolicies(wanted []hooks.Wanted, instances int) []hooks.Wanted {
	var out []hooks.Wanted
	for _, w := range wanted {
		module, err := plugin.Inspect(w.Spec)
		if err != nil {
			out = append(out, w) // Apply says so
			continue
		}
		hooksOf := w.Hooks
		if len(hooksOf) == 0 {
			hooksOf = module.Manifest.Hooks
		}
		var keep []plugin.Hook
		for _, h := range hooksOf {
			if h == core.HookMessage || h == core.HookRequest {
				keep = append(keep, h)
			}
		}
		if len(keep) == 0 {
			continue
		}
		w.Hooks, w.Watch, w.Spec.Grants.HTTP, w.Spec.Limits.Instances = keep, false, nil, max(instances, 1)
		out = append(out, w)
	}
	return out
}

func candidateRules(file string) (hooks.Rules, error) {
	c, _, _, err := config.Load(config.Options{File: file, Env: []string{}})
	if err != nil {
		return hooks.Rules{}, err
	}
	if len(c.Rules) == 0 {
		return hooks.Rules{}, core.Refusef(core.Malformed, "%s has no [[rules]]", file)
	}
	return rulesOf(c), nil
}

func withModule(wanted []hooks.Wanted, file string) ([]hooks.Wanted, error) {
	files, err := hooks.ReadFiles(file)
	if err != nil {
		return nil, err
	}
	spec, err := files.Spec()
	if err != nil {
		return nil, err
	}
	module, err := plugin.Inspect(spec)
	if err != nil {
		return nil, err
	}
	asks := module.Manifest.Asks()
	spec.Name, spec.Grants = module.Manifest.Name, plugin.Grants{KV: asks.KV, Approves: asks.Approves, AtMost: asks.AtMost}
	for i := range wanted {
		if w := &wanted[i]; w.Spec.Name == spec.Name {
			spec.Config, spec.Grants, spec.Limits = w.Spec.Config, w.Spec.Grants, w.Spec.Limits
			w.Spec = spec
			return wanted, nil
		}
	}
	return append(wanted, hooks.Wanted{Source: hooks.FromConfig, Spec: spec}), nil
}
