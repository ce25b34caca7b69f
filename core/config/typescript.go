package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/knadh/koanf/providers/confmap"

	"github.com/opengatewayprotocol/ogp/core"
)

// typescriptKeys are the settings of the TypeScript gateway's config.json that
// are ours too. docs/protocol.md#state-files
var typescriptKeys = map[string]string{
	"daemonPort":                         "daemon_port",
	"openclawUrl":                        "openclaw_url",
	"openclawToken":                      "openclaw_token",
	"openclawHooksToken":                 "openclaw_hooks_token",
	"gatewayUrl":                         "gateway_url",
	"displayName":                        "display_name",
	"email":                              "email",
	"humanName":                          "human_name",
	"agentName":                          "agent_name",
	"organization":                       "organization",
	"agentId":                            "agent_id",
	"rendezvous.enabled":                 "rendezvous.enabled",
	"rendezvous.url":                     "rendezvous.url",
	"rendezvous.publicUrl":               "rendezvous.public_url",
	"agentComms.defaultLevel":            "agent_comms.default_level",
	"agentComms.globalPolicy":            "agent_comms.topics",
	"healthCheck.intervalMs":             "health.interval",
	"healthCheck.timeoutMs":              "health.timeout",
	"healthCheck.maxConsecutiveFailures": "health.failures",
	"agents":                             "agents",
}

var typescriptAgentKeys = map[string]string{
	"id":          "id",
	"displayName": "display_name",
	"displayIcon": "display_icon",
	"role":        "role",
	"description": "description",
	"skills":      "skills",
	"hookAgentId": "hook_agent_id",
}

// brokenJSON complains of what is no JSON object, with its line.
func (l *loader) brokenJSON(path string, text []byte, err error) {
	var at *jsontext.SyntacticError
	if !errors.As(err, &at) {
		l.problem("", path, "want one JSON object: { \"daemonPort\": 18790 }", "")
		return
	}
	line := 1 + bytes.Count(text[:min(int(at.ByteOffset), len(text))], []byte("\n"))
	l.problem("", fmt.Sprintf("%s:%d", path, line), "not valid JSON", "look for a missing quote, comma or brace there, and for a comma too many; names stand in quotes")
}

// json reads the TypeScript gateway's config.json. What it sets and we do not
// know is named in one warning; a value of the wrong form is a mistake.
func (l *loader) json(path string, text []byte) error {
	var raw map[string]any
	if err := json.Unmarshal(text, &raw); err != nil {
		l.brokenJSON(path, text, err)
		return nil
	}
	if isDeeper(raw, maxFileDepth) {
		l.problem("", path, tooDeep, "")
		return nil
	}
	flat := map[string]any{}
	flatten(raw, "", flat)

	ours, theirs := map[string]any{}, map[string]string{}
	hermes(flat, ours, theirs)
	var unused []string
	for _, name := range sortedKeys(flat) {
		value := flat[name]
		key, ok := typescriptKeys[name]
		if !ok {
			unused = append(unused, name)
			continue
		}
		if value == nil {
			continue
		}
		theirs[key] = name
		switch {
		case strings.HasSuffix(name, "Ms"):
			value = milliseconds(value)
		case name == "agentComms.globalPolicy":
			value = topicLevels(value)
		case name == "agents":
			value = personas(value, &unused)
		}
		ours[key] = value
	}
	l.healthTimes(path, ours, theirs)
	closedDefault(ours)
	if len(unused) > 0 {
		l.warnings = append(l.warnings, Warning(fmt.Sprintf("%s: not used by this gateway: %s", path, strings.Join(unused, ", "))))
	}
	where := func(key string) string {
		for ; key != ""; key = parent(key) {
			if name, ok := theirs[key]; ok {
				return path + ": " + name
			}
		}
		return path
	}
	return l.load(confmap.Provider(ours, "."), layer{name: LayerFile, where: where})
}

// hermes makes the settings of a gateway that speaks to a Hermes agent those of the
// webhook plugin, which posts the same bodies, and takes them out of flat.
func hermes(flat, ours map[string]any, theirs map[string]string) {
	if flat["platform"] != "hermes" {
		return
	}
	target, _ := flat["hermesWebhookUrl"].(string)
	if target == "" {
		target = "http://localhost:8644/webhooks/ogp_federation"
	}
	settings := map[string]any{"url": target, "format": "hermes"}
	if to, ok := flat["humanDeliveryTarget"].(string); ok && to != "" {
		settings["human_delivery_target"] = to
	}
	table := map[string]any{"config": settings, "grants": map[string]any{"http": []any{target}, "private": isLoopback(target)}}
	if secret, ok := flat["hermesWebhookSecret"].(string); ok && secret != "" {
		table["secrets"] = map[string]any{"webhook_secret": secret}
	}
	ours["plugins.webhook"], theirs["plugins.webhook"] = table, "hermesWebhookUrl"
	ours["delivery.notifiers"], theirs["delivery.notifiers"] = []any{"log", "webhook"}, "platform"
	for _, name := range []string{"platform", "hermesWebhookUrl", "hermesWebhookSecret", "humanDeliveryTarget"} {
		delete(flat, name)
	}
}

func isLoopback(text string) bool {
	u, err := url.Parse(text)
	return err == nil && core.IsThisMachine(u.Hostname())
}

// healthTimes makes times that the TypeScript gateway takes and we do not the
// nearest that we take: it checks more often than once a second, and waits for an
// answer for longer than until the next check.
func (l *loader) healthTimes(path string, ours map[string]any, theirs map[string]string) {
	if n := fmt.Sprint(ours["health.failures"]); n == "0" || strings.HasPrefix(n, "-") {
		ours["health.failures"] = int64(1)
		l.warnings = append(l.warnings, Warning(path+": "+theirs["health.failures"]+": one failed check makes a peer count as down, at the least"))
	}
	duration := func(key string, standard time.Duration) (time.Duration, bool) {
		text, ok := ours[key].(string)
		if !ok {
			return standard, ours[key] == nil
		}
		d, err := core.ParseDuration(text)
		return d, err == nil
	}
	interval, ok1 := duration("health.interval", Default().Health.Interval)
	timeout, ok2 := duration("health.timeout", Default().Health.Timeout)
	if !ok1 || !ok2 {
		return // a mistake, which is named where the value is read
	}
	if interval < time.Second {
		interval = time.Second
		ours["health.interval"] = core.FormatDuration(interval)
		l.warnings = append(l.warnings, Warning(path+": "+theirs["health.interval"]+": peers are checked once a second at the most"))
	}
	if timeout > interval {
		ours["health.timeout"] = core.FormatDuration(interval)
		if theirs["health.timeout"] == "" {
			theirs["health.timeout"] = theirs["health.interval"]
		}
	}
}

// closedDefault keeps closed what the TypeScript gateway since 0.4.3 keeps closed
// without a word in its configuration: topics that nobody has named.
func closedDefault(ours map[string]any) {
	if ours["agent_comms.default_level"] == nil {
		ours["agent_comms.default_level"] = "off"
	}
}

// flatten gives each value its dotted name. What is one value to us stays whole.
func flatten(raw map[string]any, prefix string, flat map[string]any) {
	for k, v := range raw {
		name := prefix + k
		sub, isTable := v.(map[string]any)
		if _, whole := typescriptKeys[name]; isTable && !whole && hasKeysBelow(name) {
			flatten(sub, name+".", flat)
			continue
		}
		flat[name] = integers(v)
	}
}

func hasKeysBelow(name string) bool {
	for k := range typescriptKeys {
		if strings.HasPrefix(k, name+".") {
			return true
		}
	}
	return false
}

// integers turns JSON's numbers without a fraction into the integers that TOML has.
func integers(v any) any {
	switch x := v.(type) {
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			return int64(x)
		}
	case []any:
		for i := range x {
			x[i] = integers(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = integers(x[k])
		}
	}
	return v
}

func milliseconds(v any) any {
	if n, ok := v.(int64); ok && n >= 0 && n <= math.MaxInt64/int64(time.Millisecond) {
		return core.FormatDuration(time.Duration(n) * time.Millisecond)
	}
	return v
}

// topicLevels turns {topic: {level, notes}} into {topic: level}.
func topicLevels(v any) any {
	policy, ok := v.(map[string]any)
	if !ok {
		return v
	}
	levels := map[string]any{}
	for topic, one := range policy {
		levels[topic] = one
		if entry, ok := one.(map[string]any); ok {
			levels[topic] = entry["level"]
		}
	}
	return levels
}

func personas(v any, unused *[]string) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := make([]any, len(list))
	for i, one := range list {
		out[i] = one
		persona, ok := one.(map[string]any)
		if !ok {
			continue
		}
		ours := map[string]any{}
		for _, k := range sortedKeys(persona) {
			key, ok := typescriptAgentKeys[k]
			if !ok {
				*unused = append(*unused, fmt.Sprintf("agents[%d].%s", i, k))
			} else if persona[k] != nil {
				ours[key] = persona[k]
			}
		}
		out[i] = ours
	}
	return out
}
