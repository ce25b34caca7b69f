package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestDifference(t *testing.T) {
	inbox := func(c *Config) any { return c.Inbox } // is all that a reload puts in force here
	a, b := Default(), Default()
	if d := Difference(&a, &b, inbox); len(d) != 0 {
		t.Fatalf("Difference of the same = %v, want none", d)
	}
	b.Inbox.Keep = 30 * 24 * time.Hour
	b.DaemonPort = 18791
	b.Plugins = map[string]PluginConfig{"x": {Path: "x.wasm"}}
	b.OpenClawToken = NewSecret("hunter2")
	d := Difference(&a, &b, inbox)
	keys := map[string]Change{}
	for _, c := range d {
		keys[c.Key] = c
	}
	if len(keys) != 4 {
		t.Fatalf("Difference = %v, want four changes", d)
	}
	if c := keys["inbox.keep"]; c.From != `"90d"` || c.To != `"30d"` || c.Restart {
		t.Errorf("inbox.keep = %+v, want 90d to 30d without a restart", c)
	}
	if c := keys["daemon_port"]; !c.Restart {
		t.Errorf("daemon_port = %+v, want a restart", c)
	}
	if _, ok := keys["plugins"]; !ok {
		t.Errorf("Difference = %v, want plugins in it", d)
	}
	if text := fmt.Sprint(d); strings.Contains(text, "hunter2") {
		t.Errorf("Difference shows a secret: %s", text)
	}
}
