package console

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// beat is how often a page looks without having heard of an event: not all that it shows
// makes one, such as the request of one stranger among many.
const beat = 5 * time.Second

// happened is what a page learns of an event: enough to know that it should look.
type happened struct {
	ID   string `json:"id"`
	Type string `json:"type"`
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
	var mu sync.Mutex // guards w
	send := func(text string) error {
		mu.Lock()
		defer mu.Unlock()
		_ = out.SetWriteDeadline(time.Now().Add(maxRequest)) // a recorder of a test has none
		if _, err := fmt.Fprint(w, text); err != nil {
			return err
		}
		return out.Flush()
	}
	if send(": here\n\n") != nil {
		return nil // the browser has gone
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for tick := time.NewTicker(beat); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				if send("event: beat\ndata:\n\n") != nil {
					stop()
				}
			}
		}
	})
	_ = s.follow(ctx, since(r), send) // the browser comes again by itself
	stop()
	wg.Wait()
	return nil
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

func (s *Server) follow(ctx context.Context, p api.EventParams, send func(string) error) error {
	return s.o.Events(ctx, p, func(v api.EventView) error {
		line, err := json.Marshal(happened{v.ID, string(v.Type)}, json.Deterministic(true))
		if err != nil {
			return err
		}
		return send("id: " + v.ID + "\nevent: happened\ndata: " + string(line) + "\n\n")
	})
}
