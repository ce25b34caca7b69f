package reader

import (
	"context"

	"github.com/opengatewayprotocol/ogp/core"
)

// Look bounds how much is looked at for one page.
type Look struct {
	Rows  int // messages
	Bytes int // of their payloads
}

// searched is what a search looks at before it says where it stopped: some tens of
// milliseconds of work.
var searched = Look{Rows: 2000, Bytes: 4 << 20}

// chunk is how many are read first while it is not known how many fit. Each time it is
// four times as many, as a store with thousands of peers looks at each for a page of all.
const chunk = 100

// End is where a page ends.
type End struct {
	Next   string // what the next page stands before; empty: there is no more
	Looked int    // how many were looked at
}

// Received finds a page of messages that came, the newest first: the next f.Limit of those
// that want takes. A nil want takes all, and then look bounds nothing.
func Received(ctx context.Context, s core.Store, f core.InboxFilter, want func(*core.InboxMessage) bool, look Look) ([]*core.InboxMessage, End, error) {
	limit := f.Limit
	return walk(func(before string, n int) ([]*core.InboxMessage, error) {
		f.Before, f.Limit = before, n
		return s.Inbox(ctx, f)
	}, func(m *core.InboxMessage) (string, int) { return m.ID, len(m.Message.Payload) }, want, f.Before, limit, look)
}

// Sent finds a page of envelopes of ours, the newest first, as Received does.
func Sent(ctx context.Context, s core.Store, f core.OutboxFilter, want func(*core.OutboxItem) bool, look Look) ([]*core.OutboxItem, End, error) {
	limit := f.Limit
	return walk(func(before string, n int) ([]*core.OutboxItem, error) {
		f.Before, f.Limit = before, n
		return s.Outbox(ctx, f)
	}, sizeOfItem, want, f.Before, limit, look)
}

func sizeOfItem(o *core.OutboxItem) (id string, size int) {
	size = len(o.Body)
	if o.Message != nil {
		size += len(o.Message.Payload)
	}
	return o.ID, size
}

// walk reads on from a place until it has found enough, or has looked at enough.
func walk[T any](read func(before string, n int) ([]T, error), of func(T) (id string, size int), want func(T) bool, before string, limit int, look Look) (out []T, end End, err error) {
	size := 0
	for most := chunk; ; most = min(4*most, max(look.Rows, chunk)) {
		n := limit + 1 // one more says that there is more
		if want != nil {
			n = most
		}
		page, err := read(before, n)
		if err != nil {
			return nil, end, err
		}
		for _, x := range page {
			if len(out) == limit || want != nil && (end.Looked >= look.Rows || size >= look.Bytes) {
				end.Next = before
				return out, end, nil
			}
			id, bytes := of(x)
			end.Looked++
			size += bytes
			if before = id; want == nil || want(x) {
				out = append(out, x)
			}
		}
		if len(page) < n {
			return out, end, nil
		}
	}
}
