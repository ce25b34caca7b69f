package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core/control/api"
)

const (
	onLive   = 100  // events that the page shows
	lookBack = 2000 // events that it looks at
)

// livePage is what has happened of late, the newest first.
type livePage struct {
	Events     []api.EventView
	Type, Peer string
	Types      []string
	Since      time.Time // what is shown is all since then
	More       bool      // more has happened since then than is shown
}

// lookBacks are how far back the page looks until it has enough.
var lookBacks = []time.Duration{time.Minute, 15 * time.Minute, 3 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}

func (s *Server) live(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p := livePage{Type: q.Get("type"), Peer: strings.TrimSpace(q.Get("peer"))}
	for _, t := range api.EventTypes {
		p.Types = append(p.Types, string(t))
	}
	params := api.EventParams{Kept: true, Peer: p.Peer}
	if p.Type != "" {
		params.Types = []string{p.Type}
	}
	for _, back := range lookBacks {
		params.Since = s.o.Now().Add(-back)
		list, all, err := s.happened(r.Context(), params)
		if err != nil {
			return err
		}
		if !all && p.Events != nil { // what is shown is newer than what would be
			break
		}
		p.Events, p.Since, p.More = list, params.Since, !all || len(list) > onLive
		if !all || len(list) >= onLive {
			break
		}
	}
	slices.Reverse(p.Events)
	p.Events = p.Events[:min(len(p.Events), onLive)]
	return s.render(w, r, "live", "Live", p)
}

var errEnough = errors.New("enough")

// happened reads kept events, the oldest first. all is false where there are more.
func (s *Server) happened(ctx context.Context, p api.EventParams) (list []api.EventView, all bool, err error) {
	list = []api.EventView{}
	err = s.o.Events(ctx, p, func(v api.EventView) error {
		if len(list) >= lookBack {
			return errEnough
		}
		list = append(list, v)
		return nil
	})
	if errors.Is(err, errEnough) {
		return list, false, nil
	}
	return list, true, err
}
