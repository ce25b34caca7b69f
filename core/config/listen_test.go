package config_test

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core/config"
)

// Nobody but this machine is listened to while nobody else is told where we are.
func TestListenAddress(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set        func(*config.Config)
	}{
		{"the default", "127.0.0.1:18790", func(*config.Config) {}},
		{"a loopback URL", "127.0.0.1:18790", func(c *config.Config) { c.GatewayURL = "http://127.0.0.1:1" }},
		{"a public URL", ":18790", func(c *config.Config) { c.GatewayURL = "https://a.example" }},
		{"a rendezvous", ":18790", func(c *config.Config) { c.Rendezvous.Enabled = true }},
		{"a certificate of ours", ":18790", func(c *config.Config) { c.TLS.Domain = "a.example" }},
		{"said", "0.0.0.0:18790", func(c *config.Config) { c.Listen = "0.0.0.0" }},
	} {
		cfg := config.Default()
		c.set(&cfg)
		if got := cfg.ListenAddress(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
