package cli

import (
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/core"
)

// ParseSince reads how far back to look: a duration, or a time.
func ParseSince(s string) (time.Time, error) {
	if d, err := core.ParseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, Usagef("--since %q: want a duration such as 24h or 7d, or a time such as 2027-01-31", s)
}

// Joined lists words with commas.
func Joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, x := range list {
		words[i] = string(x)
	}
	return strings.Join(words, ", ")
}

// durationFlag is a flag that takes what settings take: days, too.
type durationFlag time.Duration

// DurationVar registers a flag for a duration, with its present value as default.
func DurationVar(set *pflag.FlagSet, d *time.Duration, name, usage string) {
	set.Var((*durationFlag)(d), name, usage)
}

func (d *durationFlag) String() string {
	if *d == 0 {
		return "" // no default to show
	}
	return core.FormatDuration(time.Duration(*d))
}

func (d *durationFlag) Set(s string) error {
	v, err := core.ParseDuration(s)
	*d = durationFlag(v)
	return err
}

func (d *durationFlag) Type() string { return "duration" }
