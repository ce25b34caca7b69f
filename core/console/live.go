package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

const (
	onLive   = 100                // events that the page shows
	lookBack = 2000               // events that it looks at, of one window of time
	farthest = 7 * 24 * time.Hour // how far back it looks at once
)

// livePage is what has happened until a time, the newest first.
type livePage struct {
	Events     []api.EventView
	Type, Peer string
	Types      []string
	Since      time.Time // what is shown is all since then
	Until      time.Time // zero: now
	More       bool      // more has happened since then than is shown
	Back       string    // the path of what was before
	Hold, Now  string    // the path of the same without what comes, and of what happens now
}

// glance are the events of a time that fit.
type glance struct {
	fit    []api.EventView // the oldest first
	looked int
	all    bool // false: there are more than were looked at
}

// live looks back until it has shown enough or looked at enough, and leads on from there.
func (s *Server) live(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p := livePage{Type: q.Get("type"), Peer: strings.TrimSpace(q.Get("peer"))}
	for _, t := range api.EventTypes {
		p.Types = append(p.Types, string(t))
	}
	until := s.o.Now()
	if text := q.Get("until"); text != "" {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return core.Refuse(core.Malformed, "this is not a time; start with what happens now")
		}
		p.Until, until = at, at
	}
	about := ""
	if p.Peer != "" {
		peer, err := api.Peer.Call(r.Context(), s.o.Caller, api.PeerRef{Peer: p.Peer})
		if err != nil {
			return err
		}
		about = peer.Fingerprint
	}
	fits := func(v api.EventView) bool {
		return (about == "" || v.Fingerprint == about) && (p.Type == "" || api.OfTypes(v.Type, []string{p.Type}))
	}
	for back, n := time.Minute, 0; n < 12; n++ {
		x, err := s.happened(r.Context(), until.Add(-back), p.Until, fits)
		switch {
		case err != nil:
			return err
		case x.all:
			p.Events, p.Since, p.More = x.fit, until.Add(-back), len(x.fit) > onLive
		case p.Since.IsZero():
			back /= 8
			continue
		}
		grow := min(15, lookBack*4/5/max(x.looked, 1))
		if !x.all || len(x.fit) >= onLive || back >= farthest || grow < 2 {
			break
		}
		back = min(back*time.Duration(grow), farthest)
	}
	slices.Reverse(p.Events)
	if p.More {
		p.Events = p.Events[:onLive]
		p.Since = p.Events[onLive-1].At.Add(1) // another may be of the same time
	}
	at := func(t time.Time) string {
		q := url.Values{"type": {p.Type}, "peer": {p.Peer}}
		if !t.IsZero() {
			q.Set("until", t.UTC().Format(time.RFC3339Nano))
		}
		return "/live?" + q.Encode()
	}
	if !p.Since.IsZero() {
		p.Back = at(p.Since)
	}
	p.Hold, p.Now = at(until), at(time.Time{})
	return s.render(w, r, "live", "Live", p)
}

var errEnough = errors.New("enough")

// happened looks at the kept events from one time until another; zero: all since then.
func (s *Server) happened(ctx context.Context, since, until time.Time, fits func(api.EventView) bool) (x glance, err error) {
	err = s.o.Events(ctx, api.EventParams{Kept: true, Since: since}, func(v api.EventView) error {
		if x.looked++; x.looked > lookBack {
			return errEnough
		}
		switch late := v.At.Sub(until); {
		case !until.IsZero() && late > time.Second: // they are kept in about the order of their times
			x.all = true
			return errEnough
		case (until.IsZero() || late < 0) && fits(v):
			x.fit = append(x.fit, v)
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return x, nil
	}
	x.all = true
	return x, err
}
