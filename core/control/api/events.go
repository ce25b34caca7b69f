package api

import (
	"slices"
	"strings"

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
