package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// EventTest is the type of a test call's event. It is told and never kept.
const EventTest core.EventType = "doctor.test"

// fixDelivery is what to do where nobody is told.
const fixDelivery = `ogp init finds OpenClaw's token; or "ogp notify use" names another notifier`

// checkNotifiers looks at how the notifiers do and, with test, calls each once.
func (d *Daemon) checkNotifiers(ctx context.Context, r *api.Report, test bool) {
	depths, err := d.dispatcher.Depths(ctx)
	if err != nil {
		return // checkQueues tells
	}
	live := map[string]core.Notifier{}
	for _, n := range d.hooks.Notifiers() {
		live[n.Name()] = n
	}
	telling := 0
	for _, h := range d.dispatcher.Health() {
		if h.Name == "log" {
			continue
		}
		telling++
		if dead := depths.DeadByName[h.Name]; dead > 0 {
			r.Warn("notifier", "ogp delivery list shows them, ogp delivery retry --all tries them again", "%s: %d notices were given up", h.Name, dead)
		}
		waiting := fmt.Sprintf("%d waiting", depths.DeliveriesByNotifier[h.Name])
		n := live[h.Name]
		switch {
		case test && n != nil:
			began := time.Now()
			limited, cancel := context.WithTimeout(ctx, time.Minute)
			o := n.Notify(limited, []core.Notice{{Event: core.Event{ID: ulid.Make().String(), Type: EventTest, At: began, Text: openclaw.TestLine}, Attempt: 1}})
			cancel()
			if o.Status != core.OutcomeDelivered {
				text, fix := splitRemedy(o.Detail)
				r.Fail("notifier", fix, "%s: the test call failed: %s; %s", h.Name, text, waiting)
				continue
			}
			r.Ok("notifier", "%s: a test call was taken in %v; %s", h.Name, time.Since(began).Round(time.Millisecond), waiting)
		case h.Failures > 0:
			text, fix := splitRemedy(h.LastError)
			r.Fail("notifier", fix, "%s: failed %d times in a row, the last: %s; %s", h.Name, h.Failures, text, waiting)
		default:
			r.Ok("notifier", "%s: last success %s; %s", h.Name, text.Ago(h.LastSuccess), waiting)
		}
	}
	for _, name := range d.idleNotifiers() {
		r.Warn("notifier", "ogp notify use "+name+" --add", "%s is told nothing, as delivery.notifiers does not name it", name)
	}
	if telling == 0 {
		r.Warn("notifier", fixDelivery, "nobody is told of messages: they wait in the inbox")
	}
}

// splitRemedy parts what a shipped notifier says from what it says to do.
func splitRemedy(detail string) (text, fix string) {
	if text, fix, ok := strings.Cut(detail, " - "); ok {
		return text, fix
	}
	switch {
	case strings.Contains(detail, "no token"):
		return detail, fixDelivery
	case strings.HasPrefix(detail, "OpenClaw at"):
		return detail, "start OpenClaw, or correct openclaw_url in config.toml"
	}
	return detail, "ogp plugin list"
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
		r.Warn("notifier", fixDelivery, "nobody is told of messages: there is no token for OpenClaw")
	default:
		began := time.Now()
		if text, fix := openclaw.Test(ctx, d.config(), token); text != "" {
			r.Fail("notifier", fix, "openclaw: the test call failed: %s (token from %s)", text, from)
			return
		}
		r.Ok("notifier", "openclaw: a test call was taken in %v (token from %s)", time.Since(began).Round(time.Millisecond), from)
	}
}
