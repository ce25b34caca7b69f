package openclaw

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/dial"
)

// TestLine is what a test call says. It holds no word of a peer's.
const TestLine = `This is a test call of "ogp doctor". Nothing has happened, and there is nothing to do.`

// hookCall is one POST /hooks/agent.
type hookCall struct {
	Message string `json:"message"`
	Name    string `json:"name"`
	AgentID string `json:"agentId,omitempty"`
	Deliver bool   `json:"deliver"`
	Wait    bool   `json:"waitForCompletion"` // the answer then says whether the model works
}

// Test calls OpenClaw's /hooks/agent once, without the plugin. It returns
// what is wrong and what to do, or nothing.
func Test(ctx context.Context, c *config.Config, token string) (text, fix string) {
	base := strings.TrimRight(c.OpenClawURL, "/")
	body, err := json.Marshal(hookCall{Message: TestLine, Name: "OGP Federation", AgentID: c.AgentID, Wait: true})
	if err != nil {
		return err.Error(), ""
	}
	// A busy agent's lane answers after up to 15 s, and then the model takes its time.
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/hooks/agent", strings.NewReader(string(body)))
	if err != nil {
		return err.Error(), "openclaw_url in config.toml"
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", ulid.Make().String())
	client := dial.New(dial.Options{Allow: Everywhere, Timeout: 60 * time.Second})
	defer client.CloseIdle()
	answer, err := client.Do(ctx, req)
	if err != nil {
		return err.Error(), "start OpenClaw, or correct openclaw_url in config.toml"
	}
	var said struct {
		OK    bool   `json:"ok"`
		Error string `json:"error"`

		Completion struct {
			Status string `json:"status"`
		} `json:"completion"`
	}
	parsed := json.Unmarshal(answer.Body, &said) == nil
	if parsed && said.OK && answer.Status/100 == 2 && said.Completion.Status == "error" {
		return "OpenClaw took the call, and its model did not run it", "openclaw models status: give OpenClaw a model and a key that work"
	}
	if parsed && said.OK && answer.Status/100 == 2 {
		return "", ""
	}
	text = fmt.Sprintf("OpenClaw answered %d", answer.Status)
	if said.Error != "" {
		text += ": " + said.Error[:min(len(said.Error), 200)]
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

// Everywhere lets the guard of core/dial reach what the operator has written down.
var Everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
