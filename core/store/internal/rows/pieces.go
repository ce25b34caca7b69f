package rows

import "github.com/opengatewayprotocol/ogp/core"

// piece is how many rows a piece of a dump has.
const piece = 500

// InPieces calls f with replies, Meta and KV, so many at a time.
func InPieces(all core.Change, f func(*core.Change) error) error {
	for len(all.Replies) > piece {
		if err := f(&core.Change{Replies: all.Replies[:piece]}); err != nil {
			return err
		}
		all.Replies = all.Replies[piece:]
	}
	for len(all.KV) > piece {
		if err := f(&core.Change{KV: all.KV[:piece]}); err != nil {
			return err
		}
		all.KV = all.KV[piece:]
	}
	return f(&all)
}
