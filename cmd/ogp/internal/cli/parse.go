package cli

import (
	"errors"
	"strconv"
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

// countFlag is a flag that takes a number that is not below nothing.
type countFlag int

// CountVar registers a flag for how many, with its present value as default.
func CountVar(set *pflag.FlagSet, n *int, name, usage string) { set.Var((*countFlag)(n), name, usage) }

// CountVarP is CountVar with a letter.
func CountVarP(set *pflag.FlagSet, n *int, name, letter, usage string) {
	set.VarP((*countFlag)(n), name, letter, usage)
}

func (c *countFlag) String() string { return strconv.Itoa(int(*c)) }

func (c *countFlag) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return errors.New("a whole number, 0 or more")
	}
	*c = countFlag(n)
	return nil
}

func (c *countFlag) Type() string { return "number" }

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

// DurationVarP is DurationVar with a letter, for a flag of which a bare number is
// milliseconds, as the TypeScript gateway's command line has it.
func DurationVarP(set *pflag.FlagSet, d *time.Duration, name, letter, usage string) {
	set.VarP((*millisFlag)(d), name, letter, usage)
}

type millisFlag time.Duration

func (m *millisFlag) String() string { return (*durationFlag)(m).String() }

func (m *millisFlag) Set(s string) error {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		*m = millisFlag(time.Duration(n) * time.Millisecond)
		return nil
	}
	return (*durationFlag)(m).Set(s)
}

func (m *millisFlag) Type() string { return "duration" }

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
