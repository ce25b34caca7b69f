package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// EventTypes are all types of events.
var EventTypes = []core.EventType{core.EventMessage, core.EventRequest, core.EventRequestDigest, core.EventApproved, core.EventRejected,
	core.EventRemoved, core.EventReply, core.EventHeld, core.EventDeliveryFailed, core.EventWarning,
	core.EventAgentSent, core.EventAgentReplied, core.EventAgentCancelled, core.EventAgentProposed}

// OfTypes reports whether a type is one of those, or below one of them.
func OfTypes(t core.EventType, types []string) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(want string) bool {
		return string(t) == want || strings.HasPrefix(string(t), want+".")
	})
}

// EventLine is an event in one line of a list. What a peer has written in it is as it came;
// here puts the gateway's place into the commands that a text of ours names.
func EventLine(v EventView, here func(string) string) string {
	if v.Message != nil {
		return v.Intent + "  " + OneLine(v.Message.Payload)
	}
	var data struct {
		Unverified core.Names     `json:"unverified"`
		Notifier   string         `json:"notifier"`
		Kind       string         `json:"kind"` // of an envelope of ours
		ApprovedBy string         `json:"approvedBy"`
		Policy     string         `json:"policy"`
		Reason     string         `json:"reason"`
		Error      string         `json:"error"`
		Type       core.EventType `json:"type"`
		Data       jsontext.Value `json:"data"`
	}
	if len(v.Data) > 0 && json.Unmarshal(v.Data, &data) != nil {
		return here(v.Text)
	}
	text := here(v.Text) // ours, without a word of the peer's
	switch v.Type {
	case core.EventRequest:
		text += after(" It says it is ", PeerView{Unverified: data.Unverified}.Said())
	case core.EventReply:
		switch text = OneLine(core.Raw(data.Data)); {
		case data.Error != "":
			text = "error: " + data.Error
		case text == "":
			text = "yes, without a text"
		}
	case core.EventApproved:
		text += after(" By: ", data.ApprovedBy)
	case core.EventDeliveryFailed:
		what := v.Text
		switch {
		case data.Notifier != "":
			what = fmt.Sprintf("%s was not notified of %s", data.Notifier, cmp.Or(string(data.Type), "an event"))
		case data.Kind != "":
			what = fmt.Sprintf("our %s was not delivered", data.Kind)
		}
		text = what + after(": ", data.Error)
	}
	if data.Policy != "" {
		text += after(" Policy: ", data.Policy) + after(", ", data.Reason)
	}
	return cmp.Or(text, "-")
}

// after is a text behind another, where there is one.
func after(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}
