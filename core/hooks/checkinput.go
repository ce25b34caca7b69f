package hooks

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// CheckInput returns an error for a text that is no input of a hook, as a case of a plugin's
// author may hold: what a plugin answers to it says nothing.
func CheckInput(h core.Hook, input []byte) error {
	var in struct {
		Peer    jsontext.Value   `json:"peer"`
		Message jsontext.Value   `json:"message"`
		Request jsontext.Value   `json:"request"`
		Event   jsontext.Value   `json:"event"`
		Events  []jsontext.Value `json:"events"`
	}
	if json.Unmarshal(input, &in) != nil {
		return fmt.Errorf("the input is not a JSON object")
	}
	object := func(v jsontext.Value) bool { return len(v) > 0 && v.Kind() == '{' }
	var message struct {
		Intent string `json:"intent"`
	}
	switch {
	case len(in.Peer) > 0 && in.Peer.Kind() != 'n' && !object(in.Peer):
		return fmt.Errorf("the input's \"peer\" is not an object")
	case h == core.HookNotify:
		if len(in.Events) == 0 && !object(in.Event) {
			return fmt.Errorf("the input of a notifier has an object \"event\"")
		}
	case h == core.HookRequest:
		if !object(in.Request) && !object(in.Peer) {
			return fmt.Errorf("the input about a request has objects \"peer\" and \"request\"")
		}
	case (h == core.HookMessage || h == core.HookHandle) && (!object(in.Message) || json.Unmarshal(in.Message, &message) != nil || message.Intent == ""):
		return fmt.Errorf("the input about a message has an object \"message\" with a text \"intent\"")
	}
	return nil
}
