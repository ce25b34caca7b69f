package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// ago says how long ago a time was, for people.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

func until(t time.Time) string {
	d := time.Until(t)
	if d <= 0 {
		return "now"
	}
	if d < time.Minute {
		return fmt.Sprintf("in %ds", int(d.Seconds())+1)
	}
	if d < 48*time.Hour {
		return "in " + d.Round(time.Minute).String()
	}
	return fmt.Sprintf("in %dd", int(d.Hours()/24))
}

// dash shows that a column is empty.
func dash(s string) string { return cmp.Or(s, "-") }

func grantLine(g api.GrantView) string {
	rate := core.DefaultRate
	if g.RateLimit != nil {
		rate = *g.RateLimit
	}
	line := fmt.Sprintf("%s  %d of %d in %s", safeLine(g.Intent), g.Used, rate.Requests, core.FormatDuration(rate.Window()))
	if len(g.Topics) > 0 {
		line += "  topics " + safeLine(strings.Join(g.Topics, ","))
	}
	if len(g.Personas) > 0 {
		line += "  agents " + safeLine(strings.Join(g.Personas, ","))
	}
	if g.ExpiresAt != "" {
		line += "  until " + safeLine(g.ExpiresAt)
	}
	if !g.Enabled {
		line += "  (off)"
	}
	return line
}
