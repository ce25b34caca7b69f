package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"

	coretext "github.com/opengatewayprotocol/ogp/core/text"
)

// publicURLAlias is the specification's name for OGP_RENDEZVOUS_PUBLIC_URL.
const publicURLAlias = "OGP_PUBLIC_URL"

// notSettings are OGP_ variables that are read elsewhere.
var notSettings = map[string]bool{
	"OGP_HOME":           true, // Home
	"OGP_KEY_PASSPHRASE": true, // core/keys
	"OGP_KEYPAIR_SECRET": true, // import of a TypeScript gateway's sealed key
	"OGP_CORPORA":        true, // tests
}

// testPrefix begins variables for end-to-end tests.
const testPrefix = "OGP_E2E_"

// environment applies the OGP_ variables and returns those that are no setting.
func (l *loader) environment(environ []string) (unknown []string, err error) {
	var kubernetes []string
	names := map[string]string{} // key to variable
	values := map[string]string{}
	provider := env.Provider(".", env.Opt{
		Prefix:      "OGP_",
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			if notSettings[name] || strings.HasPrefix(name, testPrefix) {
				return "", nil
			}
			if value == "" {
				return "", nil // as unset: how a unit or a Compose file unsets one
			}
			s := schema().byEnv[name]
			if isKubernetes(name, value, s != nil) {
				kubernetes = append(kubernetes, name)
				return "", nil
			}
			if s == nil && l.isGone(goneOf(name), name) {
				return "", nil
			}
			if s == nil {
				unknown = append(unknown, name)
				return "", nil
			}
			if other, ok := names[s.Key]; ok && other != name && values[other] != value {
				l.problem(s.Key, name, fmt.Sprintf("%s differs from %s, which sets the same", name, other), "unset one of them")
			}
			names[s.Key], values[name] = name, value
			return s.Key, value
		},
	})
	where := func(key string) string { return names[key] }
	defer func() { l.warnOfKubernetes(kubernetes) }()
	return unknown, l.load(provider, layer{name: LayerEnv, where: where, isText: true})
}

// goneOf is the setting that is gone whose variable this was, or empty.
func goneOf(variable string) string {
	for key := range gone {
		if variable == envOf(key) {
			return key
		}
	}
	return ""
}

// serviceLink is the form of the variables that Kubernetes sets for a Service whose
// name begins with ogp, in every container of its namespace.
var serviceLink = regexp.MustCompile(`^OGP_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// isKubernetes reports whether a variable tells of a Service and sets nothing: by its
// value, or by its name where that is no setting's.
func isKubernetes(name, value string, isSetting bool) bool {
	for _, scheme := range []string{"tcp://", "udp://", "sctp://"} {
		if strings.HasPrefix(value, scheme) {
			return true
		}
	}
	return !isSetting && serviceLink.MatchString(name)
}

func (l *loader) warnOfKubernetes(names []string) {
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	what := names[0]
	if n := len(names) - 1; n > 0 {
		what = fmt.Sprintf("%s and %d more", what, n)
	}
	l.warnings = append(l.warnings, Warning(what+": set by Kubernetes for a Service, and ignored; enableServiceLinks: false in the pod keeps them away"))
}

// nearlySetting is how many letters may differ for a variable to be a setting that
// somebody mistyped.
const nearlySetting = 2

// unknownVariables complains of OGP_ variables that nobody reads: they are neither
// settings nor what a secret refers to.
func (l *loader) unknownVariables(names []string, strict bool) {
	named := map[string]bool{l.cfg.OpenClawToken.variable(): true, l.cfg.OpenClawHooksToken.variable(): true}
	for _, p := range l.cfg.Plugins {
		for _, s := range p.Secrets {
			named[s.variable()] = true
		}
	}
	for _, name := range names {
		if named[name] {
			continue
		}
		what := fmt.Sprintf("unknown variable %s", name)
		near, distance := coretext.Nearest(strings.TrimPrefix(name, "OGP_"), sortedTrimmed(schema().byEnv))
		if !strict && (near == "" || distance > nearlySetting) {
			l.warnings = append(l.warnings, Warning(what+"; unset it: names that begin with OGP_ are settings, and this is none"))
			continue
		}
		if strings.HasPrefix(name, "OGP_AGENTS") || strings.HasPrefix(name, "OGP_PLUGINS") {
			l.problem(name, "environment", what, "agents, rules and plugins are set in "+FileName)
			continue
		}
		hint := "unset it: names that begin with OGP_ are settings"
		if near != "" {
			hint = "did you mean OGP_" + near + "?"
		}
		l.problem(name, "environment", what, hint)
	}
}

func sortedTrimmed(byEnv map[string]*Setting) []string {
	names := sortedKeys(byEnv)
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], "OGP_")
	}
	return names
}

// Getenv is the value of a variable in an environment such as os.Environ's, where
// the last one counts; empty if there is none.
func Getenv(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}
