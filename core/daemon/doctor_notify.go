package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/doctor"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// EventTest is the type of a test call's event. It goes to the notifier and is never kept.
const EventTest core.EventType = "doctor.test"

// checkNotifiers looks at how the notifiers do and, with test, calls each once.
func (d *Daemon) checkNotifiers(ctx context.Context, r *api.Report, count func() (core.Depths, error), test bool) {
	depths, err := count()
	if err != nil {
		return // checkQueues tells
	}
	live := map[string]core.Notifier{}
	for _, n := range d.hooks.Notifiers() {
		live[n.Name()] = n
	}
	for _, h := range d.dispatcher.Health() {
		if h.Name == "log" {
			continue
		}
		took := time.Duration(0)
		if n := live[h.Name]; test && n != nil {
			took = d.testNotifier(ctx, n)
		}
		well := d.notifierView(h, depths).Works()
		for _, p := range d.notifierProblems(h, depths) { // those of its plugin are shown there
			*r = append(*r, api.Check{Name: "notifier", State: p.State, Text: h.Name + ": " + p.Text, Fix: p.Fix})
		}
		n := depths.DeliveriesByNotifier[h.Name]
		waiting := core.OrMore(n, fmt.Sprintf("%d waiting", n))
		switch {
		case !well:
		case took > 0:
			r.Ok("notifier", "%s: a test call succeeded in %v; %s", h.Name, took.Round(time.Millisecond), waiting)
		default:
			r.Ok("notifier", "%s: last success %s; %s", h.Name, text.Ago(h.LastSuccess), waiting)
		}
	}
	for _, name := range d.idleNotifiers() {
		r.Warn("notifier", "ogp notify use "+name+" --add", "%s is notified of nothing, as delivery.notifiers does not name it", name)
	}
	if p, ok := d.unheard(d.dispatcher.Names()); ok {
		r.Warn("notifier", p.Fix, "%s", p.Text)
	}
}

// testNotifier calls a notifier once with a test, which is remembered, and says how long
// that took.
func (d *Daemon) testNotifier(ctx context.Context, n core.Notifier) time.Duration {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	o := n.Notify(ctx, []core.Notice{{Event: core.Event{ID: ulid.Make().String(), Type: EventTest, At: began, Text: openclaw.TestLine}, Attempt: 1}})
	result := doctor.TestResult{At: time.Now(), Failed: slices.ContainsFunc(d.dispatcher.Health(), func(h delivery.Health) bool { return h.Name == n.Name() && h.Failures > 0 })}
	if o.Status != core.OutcomeDelivered {
		result.Detail = cmp.Or(o.Detail, "it has not taken the call, and does not say why")
	}
	d.tests.Store(n.Name(), result)
	if result.Detail == "" {
		d.dispatcher.Changed() // what waits for it is tried now
	}
	return time.Since(began)
}

// notifierTest is the method "notifier.test": a test call of a notifier that is in force.
// What is wrong is in the answer.
func (d *Daemon) notifierTest(ctx context.Context, p api.PluginRef) (api.Problem, error) {
	for _, n := range d.hooks.Notifiers() {
		if n.Name() != p.Name {
			continue
		}
		d.testNotifier(ctx, n)
		v, _ := d.tests.Load(p.Name)
		if r, _ := v.(doctor.TestResult); r.Detail != "" {
			text, fix := doctor.SplitRemedy(p.Name, r.Detail)
			return api.Problem{State: api.CheckFail, Text: text, Fix: fix}, nil
		}
		return api.Problem{State: api.CheckOK}, nil
	}
	return api.Problem{}, core.Refusef(core.NotFound, "no notifier named %q is in force", p.Name)
}

// checkOpenClawOffline calls OpenClaw where no daemon runs that could.
func (d *Daemon) checkOpenClawOffline(ctx context.Context, r *api.Report) {
	if d.notifiersChosen() || d.config().Plugins[openclawPlugin].Path != "" {
		return // the operator's own notifiers need the daemon
	}
	token, from, err := openclaw.Token(d.o.env(), d.config())
	switch {
	case err != nil:
		r.Failed("notifier", from+" in config.toml", err)
	case token == "":
		r.Warn("notifier", doctor.FixDelivery, "nobody is notified of messages: there is no token for OpenClaw")
	default:
		began := time.Now()
		if text, fix := openclaw.Test(ctx, d.config(), token); text != "" {
			r.Fail("notifier", fix, "openclaw: the test call failed: %s (token from %s)", text, from)
			return
		}
		r.Ok("notifier", "openclaw: a test call succeeded in %v (token from %s)", time.Since(began).Round(time.Millisecond), from)
	}
}
