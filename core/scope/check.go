package scope

import (
	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// The bounds of what one peer is granted: the other side takes no more.
const (
	MaxGrants     = 64
	maxGrantBytes = 32 << 10 // as JSON
)

// CheckGrants says why grants cannot be given. The error is of kind Malformed.
func CheckGrants(grants []core.Grant) error {
	if len(grants) > MaxGrants {
		return core.Refusef(core.Malformed, "%d intents, and a peer takes at most %d", len(grants), MaxGrants)
	}
	for _, g := range grants {
		if g.Intent == core.IntentStatus {
			return core.Refusef(core.Malformed, "the intent %s is reserved: every peer may ask it, and nobody is granted it", core.IntentStatus)
		}
	}
	text, err := json.Marshal(grants)
	if err != nil || len(text) > maxGrantBytes {
		return core.Refusef(core.Malformed, "the grants are %d bytes, and a peer takes at most %d: name fewer topics", len(text), maxGrantBytes)
	}
	return nil
}
