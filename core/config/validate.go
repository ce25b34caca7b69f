package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/rules"
)

const (
	// maxNameLength bounds the names on our card, in bytes.
	maxNameLength  = 200
	maxTopicLength = 128
)

var (
	idForm      = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	personaForm = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)
	intentForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$`)
	hostForm    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
	sha256Form  = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

// checks are the forms that a check tag can name. Each takes one value and
// returns what is wanted, or nothing. A tag of the form "x.." is a minimum.
var checks = map[string]func(v reflect.Value) string{
	"port": func(v reflect.Value) string {
		return unless(v.Int() >= 0 && v.Int() <= 65535, "a port, 0 to 65535")
	},
	"name": func(v reflect.Value) string {
		return unless(v.Len() <= maxNameLength, fmt.Sprintf("at most %d bytes", maxNameLength))
	},
	"id": func(v reflect.Value) string {
		return unless(idForm.MatchString(v.String()), "letters, digits and _ . - (at most 64)")
	},
	"id?": func(v reflect.Value) string {
		return unless(v.Len() == 0 || idForm.MatchString(v.String()), "letters, digits and _ . - (at most 64)")
	},
	"persona": func(v reflect.Value) string {
		return unless(personaForm.MatchString(v.String()), "a-z, 0-9, _ and - (at most 64)")
	},
	"intents": func(v reflect.Value) string {
		return unless(intentForm.MatchString(v.String()), "an intent: letters, digits and . _ : / - (at most 64)")
	},
	"topics": func(v reflect.Value) string {
		return unless(v.Len() > 0 && v.Len() <= maxTopicLength, fmt.Sprintf("a topic of 1 to %d bytes", maxTopicLength))
	},
	"sha256": func(v reflect.Value) string {
		return unless(v.Len() == 0 || sha256Form.MatchString(v.String()), "64 hex digits")
	},
	"host": func(v reflect.Value) string {
		_, err := netip.ParseAddr(v.String())
		return unless(v.Len() == 0 || err == nil || hostForm.MatchString(v.String()), "an IP address or a host name, without a port")
	},
	"signer?": func(v reflect.Value) string {
		path, unix := strings.CutPrefix(v.String(), "unix:")
		return unless(v.Len() == 0 || unix && filepath.IsAbs(path), "the path of a signer's socket, such as \"unix:/run/ogp-signer/signer.sock\"")
	},
	"hostport?": func(v reflect.Value) string {
		_, port, err := net.SplitHostPort(v.String())
		_, perr := strconv.ParseUint(port, 10, 16)
		return unless(v.Len() == 0 || err == nil && perr == nil, "host:port")
	},
	"loopback?": func(v reflect.Value) string {
		return unless(v.Len() == 0 || atLoopback(v.String()), "a loopback address and a port, such as \"127.0.0.1:18795\"")
	},
	"hostport": func(v reflect.Value) string {
		host, port, err := net.SplitHostPort(v.String())
		_, perr := strconv.ParseUint(port, 10, 16)
		return unless(err == nil && perr == nil && host != "", "host:port")
	},
	"url": func(v reflect.Value) string { return unless(v.Len() == 0 || isURL(v.String()), urlWanted) },
	"rate": func(v reflect.Value) string {
		_, err := core.ParseRate(v.String())
		return unless(v.String() == "" || err == nil, `a rate such as "10/1h"`)
	},
	"bytes": func(v reflect.Value) string {
		_, err := core.ParseByteLimit(v.String())
		return unless(v.String() == "" || err == nil, `a size in a time such as "64KiB/1h"`)
	},
	"zone": func(v reflect.Value) string {
		_, err := rules.Zone(v.String())
		return unless(err == nil, `a time zone such as "Europe/Paris" or "UTC"`)
	},
	"prefixurl": func(v reflect.Value) string { return unless(isURL(v.String()), urlWanted) },
}

const urlWanted = "an http or https URL with a host, without user name, query or fragment"

// atLoopback reports whether a host and port are at loopback.
func atLoopback(hostport string) bool {
	host, port, err := net.SplitHostPort(hostport)
	_, perr := strconv.ParseUint(port, 10, 16)
	ip, _ := netip.ParseAddr(host)
	return err == nil && perr == nil && (ip.IsLoopback() || strings.EqualFold(host, "localhost"))
}

func unless(ok bool, wanted string) string {
	if ok {
		return ""
	}
	return wanted
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		u.User == nil && u.Opaque == "" && u.RawQuery == "" && !u.ForceQuery && !strings.Contains(s, "#")
}

// validate holds every value to its form, and those to one another that depend on
// one another.
func (l *loader) validate() {
	l.validateTable(reflect.ValueOf(&l.cfg).Elem(), "")
	c := &l.cfg
	l.require(c.Freshness.Remember >= 2*c.Freshness.Window, "freshness.remember", "at least twice freshness.window", "freshness.window")
	l.require(c.Outbox.First <= c.Outbox.Most, "outbox.first_retry", "at most outbox.max_retry", "outbox.max_retry")
	l.require(c.Delivery.First <= c.Delivery.Most, "delivery.first_retry", "at most delivery.max_retry", "delivery.max_retry")
	l.require(c.Health.Timeout <= c.Health.Interval, "health.timeout", "at most health.interval", "health.interval")
	l.require(!c.Rendezvous.Enabled || len(c.Rendezvous.Servers()) > 0, "rendezvous.enabled", "rendezvous.url or rendezvous.urls with it")
	l.require((c.TLS.Cert == "") == (c.TLS.Key == ""), "tls.cert", "tls.key with it, and the other way round", "tls.key")
	l.require(c.TLS.Cert == "" || c.TLS.Domain == "", "tls.domain", "nothing beside tls.cert: a certificate is fetched or read, not both", "tls.cert")
	l.require((c.Console.Cert == "") == (c.Console.Key == ""), "console.cert", "console.key with it, and the other way round", "console.key")
	l.require(c.Console.Cert != "" || atLoopback(c.Console.Listen), "console.listen", "a loopback address such as \"127.0.0.1:0\", or console.cert and console.key with it")
	l.validateAgents()
	l.validateRules()
	for _, name := range sortedKeys(c.Plugins) {
		key := "plugins." + name
		l.require(core.IsPluginName(name) && name != "log" && name != rules.Name, key, "a name of "+core.PluginNameForm+", other than log and rules")
		l.validateTable(reflect.ValueOf(c.Plugins[name]), key+".")
	}
}

func (l *loader) validateAgents() {
	if len(l.cfg.Agents) == 0 {
		return
	}
	ids := map[string]bool{}
	primaries := 0
	for i, a := range l.cfg.Agents {
		prefix := fmt.Sprintf("agents[%d].", i)
		l.validateTable(reflect.ValueOf(a), prefix)
		l.require(!ids[a.ID], prefix+"id", fmt.Sprintf("ids that differ, and %q was there before", a.ID))
		ids[a.ID] = true
		if a.Role == "primary" {
			primaries++
		}
	}
	l.require(primaries == 1, "agents", fmt.Sprintf("exactly one with role = \"primary\", found %d", primaries))
}

// validateRules compiles the rules, so that a mistake in one is named with its
// column, and keeps what has come of it.
func (l *loader) validateRules() {
	names := map[string]bool{}
	bad := len(l.problems)
	for i, r := range l.cfg.Rules {
		prefix := fmt.Sprintf("rules[%d].", i)
		l.validateTable(reflect.ValueOf(r), prefix)
		l.require(r.Name != "" && !names[r.Name], prefix+"name", "a name of its own")
		names[r.Name] = true
	}
	if len(l.cfg.Rules) == 0 || len(l.problems) > bad {
		return
	}
	_, problems := l.cfg.RuleSet()
	for _, p := range problems {
		key := fmt.Sprintf("rules[%d].%s", p.Rule, p.Member)
		what := fmt.Sprintf("rule %q: %s: ", l.cfg.Rules[min(p.Rule, len(l.cfg.Rules)-1)].Name, p.Member)
		if p.Line > 1 {
			what += fmt.Sprintf("line %d, ", p.Line)
		}
		if p.Line > 0 {
			what += fmt.Sprintf("column %d: ", p.Column)
		}
		l.problem(key, l.origins.Of(key).Where, what+p.What, p.Hint)
	}
}

// RuleSet compiles the rules. Those that Load returned have no problems.
func (c *Config) RuleSet() (*rules.Set, []rules.Problem) {
	list := make([]rules.Rule, len(c.Rules))
	for i, r := range c.Rules {
		list[i] = rules.Rule{Name: r.Name, When: string(r.When), Then: r.Then, Reason: r.Reason}
	}
	zone, err := rules.Zone(c.Policy.TimeZone)
	if err != nil { // a problem of its own
		zone = time.UTC
	}
	return rules.Compile(list, rules.Options{Zone: zone, Approves: c.Policy.Rules.Approves})
}

// require adds a problem unless ok. It stands where the key was set, or else where
// other was, a setting that it depends on.
func (l *loader) require(ok bool, key, wanted string, other ...string) {
	if ok {
		return
	}
	where := l.origins.Of(key).Where
	for _, o := range other {
		where = cmp.Or(where, l.origins.Of(o).Where)
	}
	l.problem(key, where, key+": want "+wanted, "")
}

func (l *loader) validateTable(v reflect.Value, prefix string) {
	for _, f := range fieldsOf(v.Type()) {
		field := v.FieldByIndex(f.Index)
		key := prefix + f.Tag.Get("koanf")
		if isTable(f.Type) {
			l.validateTable(field, key+".")
			continue
		}
		if wanted := checkField(f, field); wanted != "" {
			value := " = " + tomlValue(field)
			if len(value) > maxShownBytes || strings.Contains(value, "@") {
				value = ""
			}
			l.problem(key, l.origins.Of(key).Where, key+value+": want "+wanted, "")
		}
	}
}

// checkField applies the tags oneof and check, to each element of a list; of a
// table, oneof to the values and check to the names.
func checkField(f reflect.StructField, v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			if wanted := checkValue(f, v.Index(i), v.Index(i)); wanted != "" {
				return "each " + wanted
			}
		}
		return ""
	case reflect.Map:
		for _, k := range mapKeys(v) {
			if wanted := checkValue(f, reflect.ValueOf(k), v.MapIndex(reflect.ValueOf(k))); wanted != "" {
				return "each " + wanted
			}
		}
		return ""
	}
	return checkValue(f, v, v)
}

func checkValue(f reflect.StructField, checked, word reflect.Value) string {
	if words := wordsOf(f.Tag); words != nil && !slices.Contains(words, word.String()) {
		return strings.Join(words, ", ")
	}
	form := f.Tag.Get("check")
	if form == "" {
		return ""
	}
	if least, ok := strings.CutSuffix(form, ".."); ok {
		return checkMinimum(checked, least)
	}
	return checks[form](checked)
}

func checkMinimum(v reflect.Value, least string) string {
	if v.Type() == durationType {
		d, err := time.ParseDuration(least)
		return unless(err == nil && v.Int() >= int64(d), "at least "+least)
	}
	n, err := strconv.ParseInt(least, 10, 64)
	return unless(err == nil && v.Int() >= n, "at least "+least)
}
