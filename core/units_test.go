package core_test

import (
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

func TestDurations(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "1d": day, "0d": 0, "1d12h": 36 * time.Hour, "2d0h30m": 2*day + 30*time.Minute,
		"5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "0s": 0, "0": 0,
	} {
		if got, err := core.ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "1d-1h", "1d+1h", "-5m", "+5m", "5", "5x", "1h1d", "106752d", "106751d24h", "1d1d", "9223372036854775808ns"} {
		if got, err := core.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
	for d, want := range map[time.Duration]string{5 * time.Minute: "5m", 24 * time.Hour: "24h", 90 * day: "90d", 90 * time.Second: "1m30s", 0: "0s", time.Hour + time.Second: "1h0m1s"} {
		if got := core.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]core.RateLimit{
		"100/3600": {Requests: 100, WindowSeconds: 3600}, "1/1": {Requests: 1, WindowSeconds: 1},
		"100/1h": {Requests: 100, WindowSeconds: 3600}, "20 / 1d": {Requests: 20, WindowSeconds: 86400},
		"5/31d": {Requests: 5, WindowSeconds: 31 * 86400},
	} {
		got, err := core.ParseRate(text)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %v, %v, want %v", text, got, err, want)
		}
		if again, err := core.ParseRate(got.String()); err != nil || again != got {
			t.Errorf("ParseRate(%q) = %v, %v, want %v", got, again, err, got)
		}
	}
	for got, want := range map[string]string{
		core.RateLimit{Requests: 100, WindowSeconds: 3600}.String(): "100/1h", core.RateLimit{Requests: 5, WindowSeconds: 90}.String(): "5/1m30s",
		core.ByteLimit{Bytes: 1 << 10, WindowSeconds: 60}.String(): "1KiB/1m", core.ByteLimit{Bytes: 10, WindowSeconds: 3600}.String(): "10B/1h", core.DefaultBytes.String(): "256KiB/1h",
	} {
		if got != want {
			t.Errorf("written as %s, want %s", got, want)
		}
	}
	for _, text := range []string{"", "/", "100", "0/60", "100/0", "-1/60", "a/b", "1/32d", "1/500ms", "1/1.5s", "99999999999/60", "1/60/60"} {
		if got, err := core.ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", text, got)
		}
	}
}
