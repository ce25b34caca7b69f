// Package follow tells one node what other nodes have kept in the same store.
//
// docs/scaling.md#what-runs-where
package follow

import (
	"context"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	// every is how often the log is read.
	every = 500 * time.Millisecond
	// margin is how far before the start it is read: more than clocks differ.
	margin = 10 * time.Minute
	// pageSize is how many events are read at a time.
	pageSize = 500
)

// Log follows the log of all events. Make it with a literal that has Read. Safe for
// concurrent use.
type Log struct {
	// Read gives the events that were kept after the one of an id, oldest first.
	Read func(ctx context.Context, after string, limit int) ([]*core.Event, error)

	mu  sync.Mutex // guards own
	own map[string]bool
}

// Own notes events that this node is about to keep, of which it need not be told.
func (l *Log) Own(events []*core.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.own == nil {
		l.own = map[string]bool{}
	}
	for _, e := range events {
		l.own[e.ID] = true
	}
}

// NotKept takes back what Own has noted.
func (l *Log) NotKept(events []*core.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		delete(l.own, e.ID)
	}
}

// Run calls news for each event that another node keeps from now on, in the order in which
// they are kept, until ctx is done. While the store cannot be read, it tries again.
func (l *Log) Run(ctx context.Context, news func(core.Event)) {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(time.Now().Add(-margin))) // fails in the year 10889
	after, old := id.String(), true
	_ = core.Every(ctx, every, func(ctx context.Context) {
		for {
			page, err := l.Read(ctx, after, pageSize)
			if err != nil {
				return
			}
			for _, e := range page {
				if after = e.ID; !l.mine(e.ID) && !old {
					news(*e)
				}
			}
			if len(page) < pageSize {
				old = false
				return
			}
		}
	})
}

// mine reports whether an event is of this node, and forgets that.
func (l *Log) mine(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := l.own[id]
	delete(l.own, id)
	return mine
}
