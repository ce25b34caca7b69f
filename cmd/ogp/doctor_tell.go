package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/dial"
)

// testLine is what a test call says. It holds no word of a peer's.
const testLine = `This is a test call of "ogp doctor". Nothing has happened, and there is nothing to do.`

// eventTest is the type of a test call's event. It is told and never kept.
const eventTest core.EventType = "doctor.test"

// mendDelivery are what to do where nobody is told.
const mendDelivery = `ogp init finds OpenClaw's token; or openclaw_hooks_token = "${OPENCLAW_HOOKS_TOKEN}" in config.toml`

// checkNotifiers looks at how the notifiers do and, with test, calls each once.
func (d *daemon) checkNotifiers(ctx context.Context, r *report, test bool) {
	depths, err := d.store.Depths(ctx)
	if err != nil {
		return // checkQueues tells
	}
	live := map[string]core.Notifier{}
	for _, n := range d.extensions.Notifiers() {
		live[n.Name()] = n
	}
	telling := 0
	for _, h := range d.dispatcher.Health() {
		if h.Name == "log" {
			continue
		}
		telling++
		if dead := depths.DeadByName[h.Name]; dead > 0 {
			r.warn("notifier", "ogp inbox list has the messages", "%s: %d notices were given up", h.Name, dead)
		}
		waiting := fmt.Sprintf("%d waiting", depths.DeliveriesByNotifier[h.Name])
		n := live[h.Name]
		switch {
		case test && n != nil:
			began := time.Now()
			limited, cancel := context.WithTimeout(ctx, time.Minute)
			o := n.Notify(limited, []core.Notice{{Event: core.Event{ID: ulid.Make().String(), Type: eventTest, At: began, Text: testLine}, Attempt: 1}})
			cancel()
			if o.Status != core.OutcomeDelivered {
				text, fix := splitRemedy(o.Detail)
				r.fail("notifier", fix, "%s: the test call failed: %s; %s", h.Name, text, waiting)
				continue
			}
			r.ok("notifier", "%s: a test call was taken in %v; %s", h.Name, time.Since(began).Round(time.Millisecond), waiting)
		case h.Failures > 0:
			text, fix := splitRemedy(h.LastError)
			r.fail("notifier", fix, "%s: failed %d times in a row, the last: %s; %s", h.Name, h.Failures, text, waiting)
		default:
			r.ok("notifier", "%s: last success %s; %s", h.Name, ago(h.LastSuccess), waiting)
		}
	}
	if telling == 0 {
		r.warn("notifier", mendDelivery, "nobody is told of messages: they wait in the inbox")
	}
}

// splitRemedy parts what a shipped notifier says from what it says to do.
func splitRemedy(detail string) (text, fix string) {
	if text, fix, ok := strings.Cut(detail, " - "); ok {
		return text, fix
	}
	switch {
	case strings.Contains(detail, "no token"):
		return detail, mendDelivery
	case strings.HasPrefix(detail, "OpenClaw at"):
		return detail, "start OpenClaw, or correct openclaw_url in config.toml"
	}
	return detail, "ogp plugin list"
}

// checkOpenClawOffline calls OpenClaw where no daemon runs that could.
func (d *daemon) checkOpenClawOffline(ctx context.Context, r *report) {
	if d.notifiersChosen() || d.config().Plugins[openclawPlugin].Path != "" {
		return // the operator's own notifiers need the daemon
	}
	token, from, err := d.app.openclawToken(d.config())
	switch {
	case err != nil:
		r.failed("notifier", from+" in config.toml", err)
	case token == "":
		r.warn("notifier", mendDelivery, "nobody is told of messages: there is no token for OpenClaw")
	default:
		began := time.Now()
		if text, fix := testOpenClaw(ctx, d.config(), token); text != "" {
			r.fail("notifier", fix, "openclaw: the test call failed: %s (token from %s)", text, from)
			return
		}
		r.ok("notifier", "openclaw: a test call was taken in %v (token from %s)", time.Since(began).Round(time.Millisecond), from)
	}
}

// hookCall is one POST /hooks/agent.
type hookCall struct {
	Message string `json:"message"`
	Name    string `json:"name"`
	AgentID string `json:"agentId,omitempty"`
	Deliver bool   `json:"deliver"`
}

// testOpenClaw calls OpenClaw's /hooks/agent once, without the plugin. It returns
// what is wrong and what to do, or nothing.
func testOpenClaw(ctx context.Context, c *config.Config, token string) (text, fix string) {
	base := strings.TrimRight(c.OpenClawURL, "/")
	body, err := json.Marshal(hookCall{Message: testLine, Name: "OGP Federation", AgentID: c.AgentID})
	if err != nil {
		return err.Error(), ""
	}
	// A busy agent's lane answers after up to 15 s.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/hooks/agent", strings.NewReader(string(body)))
	if err != nil {
		return err.Error(), "openclaw_url in config.toml"
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", ulid.Make().String())
	client := dial.New(dial.Options{Allow: everywhere, Timeout: 30 * time.Second})
	defer client.CloseIdle()
	answer, err := client.Do(ctx, req)
	if err != nil {
		return err.Error(), "start OpenClaw, or correct openclaw_url in config.toml"
	}
	var said struct {
		OK    bool   `json:"ok"`
		Error string `json:"error"`
	}
	parsed := json.Unmarshal(answer.Body, &said) == nil
	if parsed && said.OK && answer.Status/100 == 2 {
		return "", ""
	}
	text = fmt.Sprintf("OpenClaw answered %d", answer.Status)
	if said.Error != "" {
		text += ": " + safeLine(said.Error[:min(len(said.Error), 200)])
	}
	switch {
	case answer.Status == http.StatusUnauthorized:
		fix = "openclaw_hooks_token must be the hooks.token of OpenClaw's configuration (it is not the gateway token)"
	case answer.Status == http.StatusNotFound:
		fix = "hooks.enabled = true in OpenClaw's configuration, hooks.path at /hooks; and check openclaw_url"
	case strings.Contains(said.Error, "agentId"):
		fix = "agent_id in config.toml: an agent that OpenClaw has, and its hooks.allowedAgentIds allows"
	case answer.Status == http.StatusForbidden:
		fix = "openclaw_url straight to OpenClaw, not through a proxy"
	case answer.Status >= 500:
		fix = "try again in a moment"
	default:
		fix = "does openclaw_url lead to OpenClaw?"
	}
	return text, fix
}
