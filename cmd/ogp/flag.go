package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/core"
)

// durationFlag is a flag that takes what settings take: days, too.
type durationFlag time.Duration

// durationVar registers a flag for a duration, with its present value as default.
func durationVar(set *pflag.FlagSet, d *time.Duration, name, usage string) {
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
