package console

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// onToday is how many of a kind the first page shows.
const onToday = 10

// todayPage is what waits for a human.
type todayPage struct {
	Status   api.StatusView
	Requests []api.PeerView
	Held     []api.InboxView
	Failed   []api.DeliveryView
	Doctor   looked
	Nothing  bool
}

func (s *Server) today(w http.ResponseWriter, r *http.Request) (err error) {
	ctx, c := r.Context(), s.o.Caller
	var p todayPage
	if p.Status, err = api.Status.Call(ctx, c, api.None{}); err != nil {
		return err
	}
	if p.Requests, err = api.Peers.Call(ctx, c, api.PeersParams{Status: core.Pending}); err != nil {
		return err
	}
	if p.Held, err = api.Inbox.Call(ctx, c, api.InboxParams{Status: core.InboxHeld, Limit: onToday}); err != nil {
		return err
	}
	if p.Failed, err = api.Deliveries.Call(ctx, c, api.DeliveryParams{Limit: onToday}); err != nil {
		return err
	}
	p.Doctor = s.doctor.last(s)
	p.Nothing = len(p.Requests)+len(p.Held)+len(p.Failed)+len(p.Doctor.Findings())+len(p.Status.Warnings) == 0
	p.Requests = p.Requests[:min(len(p.Requests), onToday)]
	return s.render(w, r, "today", "Today", p)
}

// looked is what the doctor has found, and when.
type looked struct {
	At     time.Time // zero: it is looking
	Checks []api.Check
}

// Findings are the checks that are not as they should be.
func (l looked) Findings() (out []api.Check) {
	for _, c := range l.Checks {
		if c.State != api.CheckOK {
			out = append(out, c)
		}
	}
	return out
}

// lookout keeps what the doctor has found, and lets it look again once that is old: it
// asks other machines, which no page waits for.
type lookout struct {
	mu      sync.Mutex // guards all below
	found   looked
	looking bool
}

const (
	lookAgain  = 2 * time.Minute
	lookAtMost = 30 * time.Second
)

func (l *lookout) last(s *Server) looked {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.looking && s.o.Now().Sub(l.found.At) > lookAgain {
		l.looking = true
		go l.look(s)
	}
	return l.found
}

func (l *lookout) look(s *Server) {
	s.mu.Lock()
	ctx := s.ctx
	s.mu.Unlock()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, lookAtMost)
	defer cancel()
	checks, err := api.Doctor.Call(ctx, s.o.Caller, api.DoctorParams{})
	if err != nil {
		checks = []api.Check{{Name: "doctor", State: api.CheckFail, Text: api.ErrorOf(err).Message}}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found, l.looking = looked{s.o.Now(), checks}, false
}

// heldAct lets a held message through, or turns it down.
func (s *Server) heldAct(w http.ResponseWriter, r *http.Request) error {
	id := r.PostFormValue("id")
	switch r.PathValue("act") {
	case "release":
		m, err := api.InboxRelease.Call(r.Context(), s.o.Caller, api.IDParams{ID: id})
		if err != nil {
			return err
		}
		return back(w, r, r.PostFormValue("back"), "Released the message from "+m.From+".")
	case "deny":
		o, err := api.InboxDeny.Call(r.Context(), s.o.Caller, api.DenyParams{ID: id, Reason: r.PostFormValue("reason")})
		if err != nil {
			return err
		}
		return back(w, r, r.PostFormValue("back"), "Denied the message from "+o.Peer.Handle()+".")
	}
	return core.Refuse(core.NotFound, "there is no such act")
}

// deliveryAct has a notice that was given up tried again, or drops it.
func (s *Server) deliveryAct(w http.ResponseWriter, r *http.Request) error {
	which := api.DeliveryWhich{Event: r.PostFormValue("event"), Notifier: r.PostFormValue("notifier"), All: r.PostFormValue("all") == "yes"}
	method, done := api.RetryDeliveries, "tried again"
	switch r.PathValue("act") {
	case "retry":
	case "drop":
		method, done = api.DropDeliveries, "dropped"
	default:
		return core.Refuse(core.NotFound, "there is no such act")
	}
	n, err := method.Call(r.Context(), s.o.Caller, which)
	if err != nil {
		return err
	}
	return back(w, r, r.PostFormValue("back"), countOf(n.Count, "notice")+" "+done+".")
}

// outboxAct has what waits for a peer tried now, or gives it up.
func (s *Server) outboxAct(w http.ResponseWriter, r *http.Request) error {
	which := api.OutboxWhich{ID: r.PostFormValue("id"), Peer: r.PostFormValue("peer")}
	method, done := api.OutboxRetry, "tried now"
	switch r.PathValue("act") {
	case "retry":
	case "cancel":
		method, done = api.OutboxCancel, "given up"
	default:
		return core.Refuse(core.NotFound, "there is no such act")
	}
	n, err := method.Call(r.Context(), s.o.Caller, which)
	if err != nil {
		return err
	}
	return back(w, r, r.PostFormValue("back"), countOf(n.Count, "envelope")+" "+done+".")
}
