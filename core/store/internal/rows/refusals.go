package rows

import (
	"fmt"

	"github.com/opengatewayprotocol/ogp/core"
)

// The refusals that stores share.
var (
	// ErrClosed says that a store was closed.
	ErrClosed = core.Refuse(core.Unavailable, "store: closed")
	// ErrTaken says that a receipt is there already.
	ErrTaken = core.Refuse(core.Replayed, "store: this nonce of this peer is taken")
)

// NotFound says what a store does not have.
func NotFound(format string, args ...any) error {
	return core.Refusef(core.NotFound, "store: no "+format, args...)
}

// Malformed says what of a change no store could keep.
func Malformed(what, id string, err error) error {
	return &core.Error{Kind: core.Internal, Public: fmt.Sprintf("store: cannot keep %s %q", what, id), Err: err}
}

// Limited is how many results a query has: as many as a filter says, or 100 where it says
// none.
func Limited(n int) int {
	if n <= 0 {
		return 100
	}
	return n
}
