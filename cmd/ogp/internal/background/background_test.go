package background

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// What keeps a daemon from its start is said once, with its hint, and without the log's
// lines before it.
func TestFailure(t *testing.T) {
	const logged = "time=2026-11-28T19:51:15Z level=INFO msg=\"OpenClaw is notified\"\n"
	const portTaken = "the daemon did not start: cannot listen on 127.0.0.1:1: address already in use"
	for said, want := range map[string]api.ErrorView{
		logged + "ogp start: cannot listen on 127.0.0.1:1: address already in use\nhint: one line\n      and another\n": {
			Kind: "internal", Message: portTaken, Hint: "one line\nand another"},
		"ogp start: the first\n" + logged + "ogp start: cannot listen on 127.0.0.1:1: address already in use\n": {
			Kind: "internal", Message: portTaken},
		logged + "{\n  \"error\": {\n    \"kind\": \"unavailable\",\n    \"message\": \"cannot listen on 127.0.0.1:1: address already in use\",\n    \"hint\": \"h\"\n  }\n}\n": {
			Kind: "unavailable", Message: portTaken, Hint: "h"},
		"panic: oh\n\ngoroutine 1\n": {Kind: "internal", Message: "the daemon did not start: panic: oh\n\ngoroutine 1"},
	} {
		if got := api.ErrorOf(failure(said)); got.Kind != want.Kind || got.Message != want.Message || got.Hint != want.Hint {
			t.Errorf("%q\nis %+v\nwant %+v", said, got, want)
		}
	}
}
