package follow

import (
	"sync"

	"github.com/opengatewayprotocol/ogp/core"
)

// Watchers are those who want every event as it is kept. The zero value is ready. Safe for
// concurrent use.
type Watchers struct {
	mu   sync.Mutex // guards list
	list map[chan core.Event]struct{}
}

// Tell tells all of an event, and waits for nobody.
func (w *Watchers) Tell(e core.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.list {
		select {
		case ch <- e:
		default: // a watcher that does not keep up is told so, and never holds up an envelope
			close(ch)
			delete(w.list, ch)
		}
	}
}

// Watch returns a channel of the events that are told from now on, and a function that ends
// it. A watcher that falls 256 events behind gets those, and then its channel is closed.
func (w *Watchers) Watch() (<-chan core.Event, func()) {
	ch := make(chan core.Event, 256)
	w.mu.Lock()
	if w.list == nil {
		w.list = map[chan core.Event]struct{}{}
	}
	w.list[ch] = struct{}{}
	w.mu.Unlock()
	return ch, func() {
		w.mu.Lock()
		delete(w.list, ch)
		w.mu.Unlock()
	}
}
