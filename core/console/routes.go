package console

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// table is what answers, and under which patterns: the tests attack each of them.
type table struct {
	http.ServeMux
	patterns []string
}

// HandleFunc adds a line.
func (t *table) HandleFunc(pattern string, f func(http.ResponseWriter, *http.Request)) {
	t.patterns = append(t.patterns, pattern)
	t.ServeMux.HandleFunc(pattern, f)
}

// routes are the console's pages and acts: a line each.
func (s *Server) routes() *table {
	mux := &table{}
	mux.HandleFunc("GET /static/", serveAsset)
	mux.HandleFunc("GET /open", func(w http.ResponseWriter, r *http.Request) { s.showLogin(w, r, http.StatusOK, "") })
	mux.HandleFunc("POST /open", s.login)
	mux.HandleFunc("GET /unsent", s.view(s.unsentPage))
	mux.HandleFunc("POST /leave", s.act(s.leave))
	mux.HandleFunc("GET /stream", s.view(s.stream))

	mux.HandleFunc("GET /{$}", s.view(s.today))
	mux.HandleFunc("GET /requests", s.view(s.requests))
	mux.HandleFunc("GET /requests/{peer}", s.view(s.requestPage))
	mux.HandleFunc("POST /requests/{peer}/approve", s.act(s.approve))
	mux.HandleFunc("POST /requests/{peer}/reject", s.act(s.reject))
	mux.HandleFunc("GET /peers", s.view(s.peers))
	mux.HandleFunc("GET /peers/{peer}", s.view(s.peerPage))
	mux.HandleFunc("POST /peers/{peer}/grants", s.act(s.grants))
	mux.HandleFunc("POST /peers/{peer}/{act}", s.act(s.peerAct))
	mux.HandleFunc("GET /messages", s.view(s.messages))
	mux.HandleFunc("GET /messages/{peer}", s.view(s.threadPage))
	mux.HandleFunc("GET /message/{id}", s.view(s.messagePage))
	mux.HandleFunc("POST /message/{id}/reply", s.act(s.reply))
	mux.HandleFunc("GET /sent/{id}", s.view(s.sentPage))
	mux.HandleFunc("GET /live", s.view(s.live))
	mux.HandleFunc("GET /health", s.view(s.health))
	mux.HandleFunc("POST /deliveries/{act}", s.act(s.deliveryAct))
	mux.HandleFunc("POST /outbox/{act}", s.act(s.outboxAct))
	mux.HandleFunc("POST /held/{act}", s.act(s.heldAct))
	mux.HandleFunc("GET /policies", s.view(s.policies))
	mux.HandleFunc("POST /policies/plugins/{name}/{act}", s.act(s.pluginAct))
	mux.HandleFunc("POST /policies/upload", s.sends(s.uploadAct))
	mux.HandleFunc("GET /policies/uploads/{id}", s.view(s.uploadPage))
	mux.HandleFunc("POST /policies/uploads/{id}/{act}", s.act(s.uploadedAct))
	mux.HandleFunc("GET /policies/machine", s.view(s.machinePage))
	mux.HandleFunc("POST /policies/machine", s.sends(s.machineAct))
	mux.HandleFunc("GET /policies/machine/{id}", s.view(s.replayedPage))
	mux.HandleFunc("POST /policies/machine/{id}/install", s.act(s.installRules))

	mux.HandleFunc("GET /invites", s.view(s.invites))
	mux.HandleFunc("POST /invites/make", s.act(s.makeInvite))
	mux.HandleFunc("POST /invites/revoke", s.act(s.revokeInvite))

	mux.HandleFunc("GET /settings", s.view(s.settings))
	mux.HandleFunc("POST /settings/set", s.act(s.setSetting))

	mux.HandleFunc("/", s.view(func(http.ResponseWriter, *http.Request) error {
		return core.Refuse(core.NotFound, "there is no such page")
	}))
	return mux
}

// nav are the pages that every page leads to.
func (s *Server) nav(r *http.Request) []nav {
	list := []nav{{Path: "/", Name: "Today"}, {Path: "/requests", Name: "Requests"}, {Path: "/peers", Name: "Peers"}, {Path: "/messages", Name: "Messages"}, {Path: "/live", Name: "Live"},
		{Path: "/policies", Name: "Policies"}, {Path: "/health", Name: "Health"}, {Path: "/invites", Name: "Invites"}, {Path: "/settings", Name: "Settings"}}
	for i := range list {
		n := &list[i]
		n.Here = r.URL.Path == n.Path || n.Path != "/" && len(r.URL.Path) > len(n.Path) && r.URL.Path[:len(n.Path)+1] == n.Path+"/"
	}
	if asking, err := api.PeersPage.Call(r.Context(), s.o.Caller, api.PeersParams{Status: core.Pending, Limit: 1}); err == nil {
		list[1].Count = asking.Total
	}
	return list
}

// loginPage asks for the code that "ogp console" gives out.
type loginPage struct {
	Wrong string // with the code that was shown
	To    string // the page that was asked for, with its question; empty: none
	Kept  string // the form that was sent, as unsent has it; empty: none
	Files bool   // files were chosen in it
	Led   bool   // another page has led here: this browser may be in nevertheless
}

// showLogin asks for a code, and remembers what page was asked for.
func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, status int, wrong string) {
	p := loginPage{Wrong: wrong}
	switch {
	case r.URL.Path == "/open":
		p.To, p.Kept = r.PostForm.Get("to"), r.PostForm.Get("kept") // login has read it
	case r.Method == http.MethodGet && r.URL.Path != "/stream":
		p.To, p.Led = r.URL.RequestURI(), !fromOurs(r)
	default:
		p.To, p.Kept = from(r), s.unsent(w, r)
	}
	if kept := unsentIn(p.Kept); kept != nil {
		p.Files = kept.chosen()
	}
	_ = s.renderStatus(w, r, status, "login", "Open the console", p) // it has written what it could
}

// from is the page of ours that a request comes from; empty: it is not known.
func from(r *http.Request) string {
	if at, err := url.Parse(r.Referer()); err == nil && at.Host == r.Host && at.Path != r.URL.Path {
		return at.RequestURI()
	}
	return ""
}

// login turns a code into a session, and leads to the page that was asked for.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxOpen)
	kept := unsentIn(r.PostFormValue("kept"))
	value, err := s.sessions.redeem(r.PostFormValue("code"), func() account { return accountOf(r) }, kept)
	switch {
	case errors.Is(err, errOthers):
		s.o.Logger.Warn("another account of this machine has shown a code of the console", "uid", accountOf(r).uid, "remote", r.RemoteAddr)
		s.showLogin(w, r, http.StatusForbidden, "This code is for a browser of the account that ran \""+s.o.Command+" console\". For another browser, run it with --no-browser.")
		return
	case err != nil:
		s.showLogin(w, r, http.StatusForbidden, "This code has been used, has expired or never existed. Run \""+s.o.Command+" console\" for another one.")
		return
	}
	http.SetCookie(w, &http.Cookie{Name: s.sessions.name, Value: value, Path: "/", MaxAge: int(sessionLife.Seconds()),
		HttpOnly: true, Secure: s.tls() != nil, SameSite: http.SameSiteStrictMode})
	to := local(r.PostFormValue("to"))
	if kept != nil {
		to = "/unsent"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// leave ends the session of this browser.
func (s *Server) leave(w http.ResponseWriter, r *http.Request) error {
	s.sessions.drop(sessionOf(r))
	http.SetCookie(w, &http.Cookie{Name: s.sessions.name, Path: "/", MaxAge: -1, HttpOnly: true, Secure: s.tls() != nil, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/open", http.StatusSeeOther)
	return nil
}
