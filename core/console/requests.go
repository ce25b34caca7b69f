package console

import (
	"net/http"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// requestsPage are the gateways that ask to federate.
type requestsPage struct {
	Items []api.PeerView
	Total int
	pager
}

func (s *Server) requests(w http.ResponseWriter, r *http.Request) error {
	v, err := api.PeersPage.Call(r.Context(), s.o.Caller, api.PeersParams{Status: core.Pending, After: r.URL.Query().Get("after"), Limit: onPage})
	if err != nil {
		return err
	}
	return s.render(w, r, "requests", "Requests", requestsPage{v.Peers, v.Total, pagerOf(r, "after", v.Next, "", 0)})
}

// requestPage is one of them, with the form that approves it.
type requestPage struct {
	Peer   api.PeerView
	Words  []string
	Groups []string
	Grants []grantRow
	Checks []api.Check // what its URL has answered; nil: it was not asked
}

// requestPage shows who asks. Its URL is asked when the operator says so: it is a
// stranger's, and learns from it that somebody looks.
func (s *Server) requestPage(w http.ResponseWriter, r *http.Request) error {
	p, err := api.Peer.Call(r.Context(), s.o.Caller, api.PeerRef{Peer: r.PathValue("peer")})
	if err != nil {
		return err
	}
	if !waits(p) {
		return back(w, r, "/peers/"+p.Fingerprint, "")
	}
	page := requestPage{Peer: p, Words: p.PublicKey.FingerprintWords(), Groups: strings.Split(p.Fingerprint, "-")}
	if page.Grants, err = s.offered(r, p); err != nil {
		return err
	}
	if r.URL.Query().Has("look") {
		if page.Checks, err = api.Doctor.Call(r.Context(), s.o.Caller, api.DoctorParams{Peer: p.Fingerprint}); err != nil {
			return err
		}
	}
	return s.render(w, r, "request", "A request", page)
}

// waits reports whether a peer waits for the operator's word.
func waits(p api.PeerView) bool { return p.State == core.Pending || p.Standing == string(core.Pending) }

// offered are the grants that a form begins with: what was granted before, or else what the
// configuration grants by itself.
func (s *Server) offered(r *http.Request, p api.PeerView) ([]grantRow, error) {
	if len(p.Granted) > 0 {
		return rowsOf(p.Grants()), nil
	}
	defaults, err := api.DefaultGrants.Call(r.Context(), s.o.Caller, api.None{})
	return rowsOf(defaults), err
}

// approve approves a request whose fingerprint somebody has compared: the last group of it
// is typed, as the other operator has read it out.
func (s *Server) approve(w http.ResponseWriter, r *http.Request) error {
	p, err := s.stillAsks(r)
	if err != nil {
		return err
	}
	last := p.Fingerprint[strings.LastIndex(p.Fingerprint, "-")+1:]
	if typed := strings.ToUpper(strings.TrimSpace(r.PostFormValue("compared"))); typed != last {
		return core.Refusef(core.Forbidden, "%q is not the last group of its fingerprint; nobody was approved", typed).
			WithHint("ask its operator to read the fingerprint to you, by a way that you trust: if it differs, this request is somebody else's")
	}
	grants, err := readGrants(r, s.o.Now())
	if err != nil {
		return err
	}
	if len(grants) == 0 {
		return core.Refuse(core.Malformed, "nothing would be granted: leave at least one line, or reject the request")
	}
	o, err := api.Approve.Call(r.Context(), s.o.Caller, api.ApproveParams{Peer: p.Fingerprint, Alias: strings.TrimSpace(r.PostFormValue("alias")), Grants: grants})
	if err != nil {
		return err
	}
	return back(w, r, "/peers/"+p.Fingerprint, "Approved "+o.Peer.Handle()+". "+told(o, "approval"))
}

// reject turns a request down.
func (s *Server) reject(w http.ResponseWriter, r *http.Request) error {
	p, err := s.stillAsks(r)
	if err != nil {
		return err
	}
	o, err := api.Reject.Call(r.Context(), s.o.Caller, api.EndParams{Peer: p.Fingerprint, Later: true})
	if err != nil {
		return err
	}
	return back(w, r, "/requests", "Rejected "+o.Peer.Handle()+".")
}

// stillAsks is the peer of a form, which must be as the form has shown it.
func (s *Server) stillAsks(r *http.Request) (api.PeerView, error) {
	p, err := api.Peer.Call(r.Context(), s.o.Caller, api.PeerRef{Peer: r.PathValue("peer")})
	if err == nil && !waits(p) {
		err = core.Refusef(core.Moved, "it does not ask any more: it is %s", p.Standing)
	}
	return p, err
}

// told says whether the peer knows what we did.
func told(o api.OutgoingView, what string) string {
	switch core.OutboxState(o.State) {
	case core.OutSent:
		return "It has been notified."
	case core.OutWaiting:
		return "It is notified of the " + what + " as soon as it can be reached."
	case core.OutRefused, core.OutExpired:
		return "It did not accept the " + what + "." + why(o.Error)
	}
	return ""
}

// why is what an error says, where there is one.
func why(e *api.ErrorView) string {
	if e == nil {
		return ""
	}
	return " " + e.Message
}
