package console

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// beat is how often a page looks without having heard of an event: not all that it shows
// makes one, such as the request of one stranger among many.
const beat = 5 * time.Second

// pace is how often a browser is told of events at the most: the first at once, and those that
// follow together.
const pace = 250 * time.Millisecond

// heard are the events that a browser has not been told of: how many, and the last one. Whoever
// notes one never waits for the browser, which may have stopped reading. Safe for concurrent use.
type heard struct {
	some chan struct{} // has one in it while there are any
	mu   sync.Mutex    // guards all below
	n    int
	last string
}

func (h *heard) note(id string) {
	h.mu.Lock()
	h.n, h.last = h.n+1, id
	h.mu.Unlock()
	select {
	case h.some <- struct{}{}:
	default:
	}
}

// line tells of all of them, as a server-sent event.
func (h *heard) line() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	line := fmt.Sprintf("id: %s\nevent: happened\ndata: %d\n\n", h.last, h.n)
	h.n = 0
	return line
}

// stream tells a browser that something has happened, as server-sent events. A session has
// one, which ends with it.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) error {
	out := http.NewResponseController(w)
	x := sessionOf(r)
	ctx, stop := x.follow(r.Context(), x.expires.Sub(s.sessions.now()))
	defer stop()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	send := func(text string) error {
		_ = out.SetWriteDeadline(time.Now().Add(maxRequest)) // a recorder of a test has none
		if _, err := fmt.Fprint(w, text); err != nil {
			return err
		}
		return out.Flush()
	}
	if send(": here\n\n") != nil {
		return nil // the browser has gone
	}
	h := &heard{some: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop()
		tell(ctx, h, send)
	})
	_ = s.o.Events(ctx, since(r), func(v api.EventView) error { // the browser comes again by itself
		h.note(v.ID)
		return nil
	})
	stop()
	wg.Wait()
	return nil
}

// tell tells of what is heard, and at each beat, until ctx is done or the browser has gone.
func tell(ctx context.Context, h *heard, send func(string) error) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err = send("event: beat\ndata:\n\n")
		case <-h.some:
			if err = send(h.line()); err == nil {
				select {
				case <-ctx.Done():
				case <-time.After(pace):
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// since is where a stream begins: behind the last event that the browser has heard of, or
// else when its page was made, so that nothing falls between the two.
func since(r *http.Request) api.EventParams {
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		return api.EventParams{After: last}
	}
	ms, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
	if err != nil {
		return api.EventParams{}
	}
	return api.EventParams{Since: time.UnixMilli(ms)}
}
