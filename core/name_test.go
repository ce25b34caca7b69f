package core_test

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

func TestIsThisMachine(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "localhost.": true, "ada.localhost": true, "127.0.0.1": true, "127.8.9.1": true, "::1": true, "::ffff:127.0.0.1": true,
		"0.0.0.0": true, "::": true,
		"": false, "example.org": false, "notlocalhost": false, "localhost.example.org": false, "10.0.0.1": false, "192.0.2.1": false, "2001:db8::1": false,
	} {
		if got := core.IsThisMachine(host); got != want {
			t.Errorf("IsThisMachine(%q) = %v, want %v", host, got, want)
		}
	}
}
