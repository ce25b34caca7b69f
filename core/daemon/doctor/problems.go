package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// What keeps a plugin or a notifier from its work is said here, once: "ogp status",
// "ogp doctor", "ogp plugin list", "ogp notify list" and "ogp config check" show it in
// the same words.

// Problems collects what is wrong with one part.
type Problems []api.Problem

// Fail says what does not work, and what fixes it.
func (p *Problems) Fail(fix, format string, args ...any) {
	*p = append(*p, api.Problem{State: api.CheckFail, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// Warn says what to look at, and what fixes it.
func (p *Problems) Warn(fix, format string, args ...any) {
	*p = append(*p, api.Problem{State: api.CheckWarn, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// WorstFirst sorts failures before warnings.
func (p Problems) WorstFirst() []api.Problem {
	slices.SortStableFunc(p, func(a, b api.Problem) int { return strings.Compare(a.State, b.State) }) // fail, warn
	return p
}

// FixPin is what to do about a module that is not the pinned one.
const FixPin = "is it the module that you trust? Then write its SHA-256 into config.toml, or \"ogp plugin install\" it again"

// Plugin are the problems of a plugin, the worst first. unread are the secrets of the
// configuration that cannot be read, its own or another's.
func Plugin(v hooks.View, unread []config.Problem) []api.Problem {
	var out Problems
	reload := "correct it, then \"ogp plugin reload " + v.Name + "\""
	if v.Source == hooks.FromInstall { // its own copy stays as it is
		reload = "correct it, then \"ogp plugin install\" it again"
	}
	grant := "write into [plugins." + v.Name + ".grants] of config.toml: " + v.GrantLine
	switch {
	case v.State == hooks.StateFailed:
		fix := reload
		if v.Pinned {
			fix = FixPin
		}
		out.Fail(fix, "not loaded: %s", v.Error)
	case v.Error != "":
		out.Fail(reload, "its new version does not load, the one before works on: %s", v.Error)
	}
	powers, secrets := lacking(v.Missing)
	if missing := strings.Join(powers, "; "); len(powers) > 0 {
		if slices.Contains(v.Hooks, core.HookNotify) && missing != plugin.MayReply {
			out.Fail(grant, "it cannot notify, as it lacks: %s", missing)
		} else {
			out.Warn(grant+", or leave it so: its README says what it can do without", "it asks for what is not granted: %s", missing)
		}
	}
	if len(secrets) > 0 { // a secret that is named is granted with the URLs
		out.Warn("name it in [plugins."+v.Name+".secrets] of config.toml, or leave it so: its README says what it can do without", "it asks for secrets that are not set: %s", strings.Join(secrets, "; "))
	}
	for _, unknown := range v.Unknown {
		out.Warn("take it out of [plugins."+v.Name+".config] of config.toml, or correct its name", "it has no setting %s", unknown)
	}
	prefix := "plugins." + v.Name + ".secrets."
	for _, p := range unread {
		if strings.HasPrefix(p.Key, prefix) {
			out.Fail(p.Hint, "its secret cannot be read: %s", p.What)
		}
	}
	switch {
	case v.State == hooks.StatePaused:
		out.Fail(reload, "paused after repeated failures, the last: %s", v.LastFailure)
	case v.FailedInARow == 1:
		out.Fail(reload, "its last call failed: %s", v.LastFailure)
	case v.FailedInARow > 1:
		out.Fail(reload, "its last %s failed: %s", text.Count(v.FailedInARow, "call"), v.LastFailure)
	case v.LastFailure != "":
		out.Warn("\"ogp logs\" shows when", "it works, and %d of its %s failed, the last: %s", v.Failures, text.Count(int(v.Calls), "call"), v.LastFailure)
	}
	switch {
	case !v.Changed:
	case v.Pinned:
		out.Fail(FixPin, "its file has changed since it was loaded: the next start refuses it")
	default:
		out.Warn("ogp plugin reload "+v.Name, "its file has changed since it was loaded")
	}
	out = append(out, unusedPower(v)...)
	return out.WorstFirst()
}

// unusedPower says what a plugin would have done, had it the power to.
func unusedPower(v hooks.View) (out Problems) {
	if v.Ignored > 0 && !v.Replies && slices.Contains(v.Hooks, core.HookNotify) {
		out.Warn(fixPower(v, "replies"),
			"it tried to answer %s, which it may not", text.Count(int(v.Ignored), "message"))
	}
	if v.Ignored > 0 && !v.Approves && slices.Contains(v.Hooks, core.HookRequest) {
		out.Warn(fixPower(v, "approves"),
			"it tried to approve %s, which it may not", text.Count(int(v.Ignored), "stranger"))
	}
	return out
}

// fixPower says how a plugin gets a power that it would use.
func fixPower(v hooks.View, power string) string {
	if v.Source == hooks.FromInstall {
		return "to allow it: " + power + " = true in the plugin.toml beside its module, and \"ogp plugin install\" again, which asks you"
	}
	return "to allow it: " + power + " = true in its plugin.toml, which asks for the power, and in [plugins." + v.Name + ".grants] of config.toml, which grants it"
}

// lacking parts the powers that a plugin is not granted from the secrets that it is not
// given at the URLs that it is granted.
func lacking(missing []string) (powers, secrets []string) {
	for _, m := range missing {
		switch _, url, of := strings.Cut(m, " for "); {
		case !of || !strings.HasPrefix(m, "secret "):
			powers = append(powers, m)
		case !slices.Contains(missing, "http "+url):
			secrets = append(secrets, m)
		}
	}
	return powers, secrets
}

// TestResult is what came of a test call of a notifier.
type TestResult struct { // it may find what no event does, as a model that does not work
	At     time.Time
	Detail string // what was wrong; empty: nothing
	Failed bool   // so did its events at that time: their next success is the end of both
}

// Stands reports whether something is wrong by the test, as the notifier does now.
func (r TestResult) Stands(h delivery.Health) bool {
	return r.Detail != "" && !(r.Failed && h.LastSuccess.After(r.At))
}

// Notifier are the problems of a notifier beside those of its plugin. test is what came
// of its last test call, and dead how many notices were set aside.
func Notifier(h delivery.Health, test TestResult, dead int) (out Problems) {
	if h.Failures > 0 {
		detail, fix := SplitRemedy(h.Name, h.LastError)
		out.Fail(fix, "failed %s in a row, the last: %s", text.Count(h.Failures, "time"), detail)
	} else if test.Stands(h) {
		detail, fix := SplitRemedy(h.Name, test.Detail)
		out.Fail(fix, "a test call failed: %s (%s)", detail, text.Ago(test.At))
	}
	if dead > 0 {
		out.Warn("\"ogp delivery list\" shows them, \"ogp delivery retry --all\" tries them again", "%s set aside", text.Count(dead, "notice was", "notices were"))
	}
	return out
}

// FixDelivery is what to do where nobody is notified.
const FixDelivery = `"ogp init" finds OpenClaw; "ogp notify use webhook --url <URL>" names another notifier`

// SplitRemedy parts what a shipped notifier says from what it says to do.
func SplitRemedy(name, detail string) (text, fix string) {
	if text, fix, ok := strings.Cut(detail, " - "); ok {
		return text, fix
	}
	switch {
	case strings.Contains(detail, "no token"):
		return detail, FixDelivery
	case strings.Contains(detail, "nothing listens there"):
		return detail, "see whether its server runs, and whether its URL in config.toml is right; \"ogp notify test " + name + "\" tries it again"
	case strings.HasPrefix(detail, "OpenClaw at"):
		return detail, "start OpenClaw, or correct openclaw_url in config.toml"
	}
	return detail, "correct its settings or its server; \"ogp notify test " + name + "\" tries it again"
}
