package answer

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// Confirmed reads what a gateway before v2 answers to a confirmation, which nothing proves:
// core.HeardYes, HeardNo or HeardNil. unknown says of a no that it does not know us.
//
// docs/protocol.md#confirmation
func Confirmed(a core.Answer) (word string, unknown bool) {
	var body struct {
		Success *bool  `json:"success"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(a.Body, &body) != nil || body.Success == nil {
		return core.HeardNil, false
	}
	switch {
	case a.Status == http.StatusForbidden && body.Error == "Peer not approved":
		return core.HeardNo, false
	case a.Status == http.StatusForbidden && body.Error == "Unknown peer":
		return core.HeardNo, true
	case *body.Success && a.Status == http.StatusOK,
		a.Status == http.StatusForbidden && strings.HasPrefix(body.Error, "Intent '"+core.IntentStatus+"'"),
		a.Status == http.StatusBadRequest && strings.HasPrefix(body.Error, "Unknown intent"),
		a.Status == http.StatusTooManyRequests && strings.HasPrefix(body.Error, "Rate limit exceeded for intent"):
		return core.HeardYes, false
	}
	return core.HeardNil, false
}
