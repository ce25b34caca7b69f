package examples_test

import (
	"context"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// The author's self-tests know the author's configuration: an operator's choice
// must not fail them, and it is what counts afterwards.
func TestSelfTestsRunUnderTheDefaults(t *testing.T) {
	const always = `{"open":"00:00","close":"23:59","days":["mon","tue","wed","thu","fri","sat","sun"]}`
	p := load(t, newHost(t), "office-hours", always, nil)
	const saturday = `{"abi":1,"hook":"message","now":"2026-11-21T12:00:00.000Z","message":{"textBytes":1}}`
	r, err := p.Call(context.Background(), plugin.Message, []byte(saturday))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(r.Output), "hold") {
		t.Errorf("Call on a Saturday = %s, want no hold under %s", r.Output, always)
	}
}
