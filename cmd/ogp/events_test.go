package main

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

func TestEventInOneLine(t *testing.T) {
	for _, x := range []struct {
		view api.EventView
		want string
	}{
		{api.EventView{Event: core.Event{Type: core.EventMessage}, Intent: "message", Message: &core.Message{Payload: core.Raw(`{"text":"a\u001b[31m\nb"}`)}}, "message  a\uFFFD[31m b"},
		{api.EventView{Event: core.Event{Type: core.EventReply, Data: core.Raw(`{"data":{"text":"yes"}}`)}}, "yes"},
		{api.EventView{Event: core.Event{Type: core.EventReply, Data: core.Raw(`{"error":"no"}`)}}, "error: no"},
		{api.EventView{Event: core.Event{Type: core.EventDeliveryFailed, Data: core.Raw(`{"notifier":"openclaw","type":"message","error":"404"}`)}},
			"openclaw was not notified of message: 404"},
		{api.EventView{Event: core.Event{Type: core.EventRequest, Text: "Asks.", Data: core.Raw(`{"unverified":{"displayName":"Ben\n\u001b"}}`)}},
			`Asks. It says it is "Ben\n\x1b"`},
		{api.EventView{Event: core.Event{Type: core.EventWarning, Text: `Look: "ogp federation remove ben".`}}, `Look: "ogp --home h federation remove ben".`},
	} {
		if got := eventText(&cli.App{Home: "h"}, x.view); got != x.want {
			t.Errorf("%s: %q, want %q", x.view.Type, got, x.want)
		}
	}
}
