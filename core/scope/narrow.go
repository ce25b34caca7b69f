package scope

import (
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
)

// Narrow is what both lists of grants allow; where one names none, the other stands.
func Narrow(a, b []core.Grant) []core.Grant {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	var out []core.Grant
	for _, x := range a {
		i := slices.IndexFunc(b, func(y core.Grant) bool { return y.Intent == x.Intent && y.Enabled })
		if i < 0 || !x.Enabled {
			continue
		}
		if both, ok := bothGrant(x, b[i]); ok {
			out = append(out, both)
		}
	}
	return out
}

// bothGrant is what two grants of one intent have in common; ok is false where
// that is nothing.
func bothGrant(a, b core.Grant) (g core.Grant, ok bool) {
	x, y := LimitOf(a), LimitOf(b)
	g = core.Grant{Intent: a.Intent, Enabled: true, RateLimit: slower(x.Rate, y.Rate), ExpiresAt: sooner(a.ExpiresAt, b.ExpiresAt)}
	if a.ByteLimit != nil || b.ByteLimit != nil {
		g.ByteLimit = smaller(x.Size, y.Size)
	}
	topics, ok1 := common(a.Topics, b.Topics, func(x, y string) bool { return x == y || strings.HasPrefix(x, y+"/") })
	personas, ok2 := common(a.Personas, b.Personas, func(x, y string) bool { return x == y })
	g.Topics, g.Personas = topics, personas
	return g, ok1 && ok2
}

// common lists what both lists allow, where an empty one allows all; within says
// that x is a part of y.
func common(a, b []string, within func(x, y string) bool) (out []string, ok bool) {
	if len(a) == 0 {
		return slices.Clone(b), true
	}
	if len(b) == 0 {
		return slices.Clone(a), true
	}
	for _, x := range a {
		for _, y := range b {
			switch {
			case within(x, y):
				out = append(out, x)
			case within(y, x):
				out = append(out, y)
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out, len(out) > 0
}

// slower is the rate that lets fewer through in the long run.
func slower(a, b core.RateLimit) *core.RateLimit {
	if below(int64(b.Requests), b.WindowSeconds, int64(a.Requests), a.WindowSeconds) {
		return &b
	}
	return &a
}

// smaller is the size that lets less through in the long run.
func smaller(a, b core.ByteLimit) *core.ByteLimit {
	if below(b.Bytes, b.WindowSeconds, a.Bytes, a.WindowSeconds) {
		return &b
	}
	return &a
}

// below reports whether n within a window of seconds is less, in the long run, than m within another.
func below(n int64, window int, m int64, other int) bool {
	return n*int64(max(1, other)) < m*int64(max(1, window))
}

// sooner is the earlier end; empty is never. One that cannot be read has passed,
// as for the scopes.
func sooner(a, b string) string {
	if a == "" {
		return b
	}
	x, err := core.ParseTime(a)
	if b == "" || err != nil {
		return a
	}
	if y, err := core.ParseTime(b); err != nil || y.Before(x) {
		return b
	}
	return a
}
