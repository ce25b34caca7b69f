package backup

import (
	"bytes"
	"testing"
	"time"
)

// Progress stands in one line of a terminal, and is a line in a log now and then.
func TestProgress(t *testing.T) {
	for _, c := range []struct {
		terminal bool
		want     string
	}{
		{true, "\rcopied: receipts: 2\rcopied: peers: 3   \r                \r"},
		{false, "copied: peers: 3\n"},
	} {
		var out bytes.Buffer
		now := time.Unix(0, 0)
		p := &progress{out: &out, terminal: c.terminal, now: func() time.Time { return now }, last: now}
		p.tell("copied: receipts", 1)
		now = now.Add(redrawEvery)
		p.tell("copied: receipts", 2)
		now = now.Add(sayEvery)
		p.tell("copied: peers", 3)
		p.end()
		if got := out.String(); got != c.want {
			t.Errorf("terminal %v: %q, want %q", c.terminal, got, c.want)
		}
	}
}
