package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// onPage is how many lines a page of a list has.
const onPage = 50

// peersPage is the list of peers.
type peersPage struct {
	Items                []api.PeerView
	State, Search, Which string
	States               map[string]int
	Total                int
	Picture              *picture // of the first page
	pager
}

func (s *Server) peers(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p := peersPage{State: q.Get("state"), Search: strings.TrimSpace(q.Get("q"))}
	v, err := api.PeersPage.Call(r.Context(), s.o.Caller, api.PeersParams{Status: core.Trust(p.State), Search: p.Search, Trouble: q.Has("trouble"), After: q.Get("after"), Limit: onPage})
	if err != nil {
		return err
	}
	p.Items, p.States, p.Total, p.pager = v.Peers, v.States, v.Total, pagerOf(r, "after", v.Next, "", 0)
	if r.URL.RawQuery == "" && len(v.Peers) > 0 {
		drawn, err := s.picture(r)
		if err != nil {
			return err
		}
		p.Picture = &drawn
	}
	return s.render(w, r, "peers", "Peers", p)
}

// peerPage is all that we know of a peer.
type peerPage struct {
	Peer     api.PeerView
	Words    []string
	Groups   []string
	Grants   []grantRow
	Messages []api.InboxView
	Outbox   []api.OutboxView
	Checks   []api.Check
}

// ofPeer is how many of its messages a peer's page shows.
const ofPeer = 10

func (s *Server) peerPage(w http.ResponseWriter, r *http.Request) error {
	ctx, c := r.Context(), s.o.Caller
	p, err := api.Peer.Call(ctx, c, api.PeerRef{Peer: r.PathValue("peer")})
	if err != nil {
		return err
	}
	page := peerPage{Peer: p, Words: p.PublicKey.FingerprintWords(), Groups: strings.Split(p.Fingerprint, "-"), Grants: rowsOf(p.Grants())}
	if page.Messages, err = api.Inbox.Call(ctx, c, api.InboxParams{Peer: p.Fingerprint, Limit: ofPeer}); err != nil {
		return err
	}
	if page.Outbox, err = api.Outbox.Call(ctx, c, api.OutboxParams{Peer: p.Fingerprint, State: core.OutWaiting, Limit: ofPeer}); err != nil {
		return err
	}
	if r.URL.Query().Has("look") {
		if page.Checks, err = api.Doctor.Call(ctx, c, api.DoctorParams{Peer: p.Fingerprint}); err != nil {
			return err
		}
	}
	return s.render(w, r, "peer", p.Handle(), page)
}

// peerAct is what can be done to a peer, apart from its grants.
func (s *Server) peerAct(w http.ResponseWriter, r *http.Request) error {
	ctx, c := r.Context(), s.o.Caller
	ref := r.PathValue("peer")
	here := "/peers/" + url.PathEscape(ref)
	value := strings.TrimSpace(r.PostFormValue("value"))
	switch r.PathValue("act") {
	case "pause":
		p, err := api.Pause.Call(ctx, c, api.PauseParams{Peer: ref, Reason: value})
		if err != nil {
			return err
		}
		return back(w, r, here, "Paused "+p.Handle()+": what it sends is held for you.")
	case "resume":
		v, err := api.Resume.Call(ctx, c, api.ResumeParams{Peer: ref, Release: r.PostFormValue("release") == "yes"})
		if err != nil {
			return err
		}
		notice := "Resumed " + v.Peer.Handle() + "."
		if v.Released > 0 {
			notice += " Let " + text.Count(v.Released, "message") + " through."
		}
		if v.Held > 0 {
			notice += " " + text.Count(v.Held, "message") + " of it still held."
		}
		return back(w, r, here, notice)
	case "alias":
		p, err := api.Alias.Call(ctx, c, api.AliasParams{Peer: ref, Alias: value})
		if err != nil {
			return err
		}
		return back(w, r, here, "It is called "+p.Handle()+" now.")
	case "tag":
		p, err := api.Tag.Call(ctx, c, api.TagParams{Peer: ref, Add: list(value), Drop: r.PostForm["drop"]})
		if err != nil {
			return err
		}
		return back(w, r, here, "Changed the tags of "+p.Handle()+".")
	case "remove":
		return s.removePeer(w, r, ref)
	case "forget":
		v, err := api.Forget.Call(ctx, c, api.EndParams{Peer: ref})
		if err != nil {
			return err
		}
		return back(w, r, "/peers", "Forgot "+v.Peer.Handle()+".")
	}
	return core.Refuse(core.NotFound, "there is no such action")
}

// removePeer ends a federation, once its name was typed.
func (s *Server) removePeer(w http.ResponseWriter, r *http.Request, ref string) error {
	p, err := api.Peer.Call(r.Context(), s.o.Caller, api.PeerRef{Peer: ref})
	if err != nil {
		return err
	}
	if strings.TrimSpace(r.PostFormValue("value")) != p.Handle() {
		return core.Refusef(core.Forbidden, "to end the federation, type %s; nothing was done", p.Handle())
	}
	v, err := api.Remove.Call(r.Context(), s.o.Caller, api.EndParams{Peer: ref})
	if err != nil {
		return err
	}
	notice := "Ended the federation with " + v.Peer.Handle() + "."
	if !v.Notified {
		notice += " It could not be notified." + why(v.Error)
	}
	return back(w, r, "/peers/"+p.Fingerprint, notice)
}
