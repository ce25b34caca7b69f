package console

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gate"
)

// policy is the Content-Security-Policy of every answer: the one script of ours, by its hash, and
// nothing of anybody else's; no script or style within a page; in nobody's frame. Browsers know
// no hash of a stylesheet that is a file: its link has one, and nothing else of ours is a stylesheet.
var policy = "default-src 'none'; script-src '" + assets["console.js"].Integrity + "'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

type sessionKey struct{}

// sessionOf is the session of a request that the guard has let through.
func sessionOf(r *http.Request) *session {
	x, _ := r.Context().Value(sessionKey{}).(*session)
	return x
}

// guard asks of every request whether it means us (Host), whether a page of ours has sent
// it (Origin, Sec-Fetch-Site), and who it is (the cookie), before anything else happens.
func (s *Server) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if !s.means(r.Host) {
			plain(w, http.StatusMisdirectedRequest, "The console does not answer under this name. \""+s.o.Command+" console\" shows the address.")
			return
		}
		if err := cross.Check(r); err != nil {
			plain(w, http.StatusForbidden, "Another page has sent this. Nothing was done.")
			return
		}
		open := time.Now().Add(maxRequest)
		_ = http.NewResponseController(w).SetReadDeadline(open) // a recorder of a test has none
		_ = http.NewResponseController(w).SetWriteDeadline(open)
		x, others := s.sessions.of(r)
		switch {
		case others:
			x.stolen.Do(func() {
				s.o.Logger.Warn("another account of this machine has shown a cookie of the console; it does not count for it", "uid", accountOf(r).uid, "remote", r.RemoteAddr)
			})
		case x != nil && fromOurs(r):
			gate.Works(r.Context())
			r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, x))
		}
		next.ServeHTTP(w, r)
	})
}

// fromOurs reports whether a page of ours or the reader has asked, and no other page: a
// server on another port is of our site, and gets our cookie sent whatever its SameSite. It
// could have an address asked, end the stream or take the notice away. Where the browser
// does not say who asks, the cookie alone counts.
func fromOurs(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return true
	}
	return false
}

// means reports whether a Host header means this console. Another name is one that
// somebody has made to point here; the port may be another one, as "ssh -L" changes it.
func (s *Server) means(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	switch host {
	case "127.0.0.1", "::1", "localhost", s.sessions.host:
		return true
	}
	serves := s.tls()
	return serves != nil && serves(host)
}

// plain answers without a page, to whom no page is shown.
func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the browser may have gone
}

// handler answers a request of a session. An error becomes a page that says it.
type handler func(w http.ResponseWriter, r *http.Request) error

// view is a page: it changes nothing. Without a session the way to one is shown.
func (s *Server) view(f handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if sessionOf(r) == nil {
			s.showLogin(w, r, http.StatusUnauthorized, "")
			return
		}
		err := errNoText
		if isText(r.URL.Path) && areTexts(r.URL.Query()) {
			err = f(w, r)
		}
		if err != nil {
			s.problem(w, r, err)
		}
	}
}

// errNoText is of what no page of ours sends.
var errNoText error = core.Refuse(core.Malformed, "this address or form is not written in UTF-8; nothing was done")

func isText(text string) bool { return utf8.ValidString(text) }

// areTexts reports whether all names and values of a form are written in UTF-8: what is not
// cannot be asked of the gateway.
func areTexts(form url.Values) bool {
	for name, values := range form {
		if !isText(name) || slices.ContainsFunc(values, func(v string) bool { return !isText(v) }) {
			return false
		}
	}
	return true
}

// act is a form that does something: the session's own form, sent once.
func (s *Server) act(f handler) http.HandlerFunc {
	return s.view(func(w http.ResponseWriter, r *http.Request) error {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := r.ParseForm(); err != nil {
			return core.Refuse(core.Malformed, "this form is too large, or was cut off on the way")
		}
		if !areTexts(r.PostForm) {
			return errNoText
		}
		return s.spend(w, r, f)
	})
}

// spend does what a form says once its token is known. With an error it is shown again, as it
// was filled in.
func (s *Server) spend(w http.ResponseWriter, r *http.Request, f handler) error {
	if err := counts(r, r.PostFormValue("token")); err != nil {
		var form *again
		if err == errOtherSession { // its session may have ended while it was filled in
			if form = againOf(r); !form.filled() {
				form = nil
			}
		}
		s.problemOf(w, r, err, form)
		return nil
	}
	if err := f(w, r); err != nil {
		s.problemOf(w, r, err, againOf(r))
	}
	return nil
}

// errOtherSession is of a form without a token of this session.
var errOtherSession error = core.Refuse(core.Forbidden, "this form is from another session; nothing was done")

// counts says why a form's token does not count, which is used up by it.
func counts(r *http.Request, token string) error {
	ours, fresh := sessionOf(r).spend(token)
	switch {
	case !ours:
		return errOtherSession
	case !fresh:
		return core.Refuse(core.Conflict, "this form was sent already; nothing was done a second time").WithHint("open the page again to see what came of it")
	}
	return nil
}

// back leads to a page of ours, which says what was done. Where nothing was, it leaves
// alone what another page has to say.
func back(w http.ResponseWriter, r *http.Request, path, notice string) error {
	if notice != "" {
		sessionOf(r).say(notice)
	}
	http.Redirect(w, r, local(path), http.StatusSeeOther)
	return nil
}

// local is a path of ours; of what leads elsewhere, that of the first page.
func local(path string) string {
	if u, err := url.Parse(path); err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.Contains(path, "\\") {
		return "/"
	}
	return path
}
