package console

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/history"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// onToday is how many of a kind the first page shows.
const onToday = 10

// todayPage is what waits for a human.
type todayPage struct {
	Status   api.StatusView
	Requests []api.PeerView
	Asking   int // how many, shown or not
	Held     []api.InboxView
	Failed   []api.DeliveryView
	Doctor   looked
	Warnings []string // of the status, which the doctor has not found as well
	Day      []rate
	Chart    chart // of the day
	Nothing  bool
}

// rate is how many envelopes a day had of a kind.
type rate struct {
	Name string
	Sum  int
}

func (s *Server) today(w http.ResponseWriter, r *http.Request) (err error) {
	ctx, c := r.Context(), s.o.Caller
	var p todayPage
	if p.Status, err = api.Status.Call(ctx, c, api.None{}); err != nil {
		return err
	}
	asking, err := api.PeersPage.Call(ctx, c, api.PeersParams{Status: core.Pending, Limit: onToday})
	if err != nil {
		return err
	}
	p.Requests, p.Asking = asking.Peers, asking.Total
	if p.Held, err = api.Inbox.Call(ctx, c, api.InboxParams{Status: core.InboxHeld, Limit: onToday}); err != nil {
		return err
	}
	if p.Failed, err = api.Deliveries.Call(ctx, c, api.DeliveryParams{Limit: onToday}); err != nil {
		return err
	}
	day, err := api.History.Call(ctx, c, history.Params{Step: chartStep, Peers: 1})
	if err != nil {
		return err
	}
	p.Chart = chartsOf(day.Points)[0]
	for _, x := range p.Chart.Series {
		p.Day = append(p.Day, rate{x.Name, x.sum()})
	}
	p.Doctor = s.doctor.last(s, r.URL.Query().Has("look"))
	p.Warnings = p.Doctor.others(p.Status.Warnings)
	p.Nothing = len(p.Requests)+len(p.Held)+len(p.Failed)+len(p.Doctor.Findings())+len(p.Warnings) == 0
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

// others are the warnings that none of the findings says as well.
func (l looked) others(warnings []string) (out []string) {
	for _, w := range warnings {
		if !slices.ContainsFunc(l.Findings(), func(c api.Check) bool { return strings.HasPrefix(w, c.Text) }) {
			out = append(out, w)
		}
	}
	return out
}

// lookout keeps what the doctor has found, and lets it look again once that is old: it
// asks other machines, which no page waits for.
type lookout struct {
	mu    sync.Mutex // guards all below
	found looked
	done  chan struct{} // closed when the look that goes on is over; nil: none does
}

const (
	lookAgain  = 2 * time.Minute
	lookAtMost = 30 * time.Second
)

// last is what was found. now waits for a look that begins now, if there is none yet.
func (l *lookout) last(s *Server, now bool) looked {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil && (now || s.o.Now().Sub(l.found.At) > lookAgain) {
		l.done = make(chan struct{})
		go l.look(s)
	}
	if done := l.done; now && done != nil {
		l.mu.Unlock()
		<-done
		l.mu.Lock()
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
	l.found = looked{s.o.Now(), checks}
	close(l.done)
	l.done = nil
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
	return core.Refuse(core.NotFound, "there is no such action")
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
		return core.Refuse(core.NotFound, "there is no such action")
	}
	n, err := method.Call(r.Context(), s.o.Caller, which)
	if err != nil {
		return err
	}
	return back(w, r, r.PostFormValue("back"), text.Count(n.Count, "notice")+" "+done+".")
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
		return core.Refuse(core.NotFound, "there is no such action")
	}
	n, err := method.Call(r.Context(), s.o.Caller, which)
	if err != nil {
		return err
	}
	return back(w, r, r.PostFormValue("back"), text.Count(n.Count, "envelope")+" "+done+".")
}
