package console

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// beat is how often a stream says that it is there, while nothing happens.
const beat = 20 * time.Second

// happened is what a page learns of an event: enough to know that it should look.
type happened struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// stream tells a browser that something has happened, as server-sent events. A session has
// one, which ends with it.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) error {
	out := http.NewResponseController(w)
	ctx, stop := sessionOf(r).follow(r.Context())
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
				if send(": here\n\n") != nil {
					stop()
				}
			}
		}
	})
	_ = s.follow(ctx, send) // the browser comes again by itself
	stop()
	wg.Wait()
	return nil
}

func (s *Server) follow(ctx context.Context, send func(string) error) error {
	return s.o.Events(ctx, api.EventParams{}, func(v api.EventView) error {
		line, err := json.Marshal(happened{v.ID, string(v.Type)}, json.Deterministic(true))
		if err != nil {
			return err
		}
		return send("event: happened\ndata: " + string(line) + "\n\n")
	})
}
