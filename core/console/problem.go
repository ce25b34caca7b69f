package console

import (
	"errors"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// problemPage is an error: what is wrong, and what to do next.
type problemPage struct {
	api.ErrorView
	Back  string // the page of ours that led here; empty: it is not known
	Again *again
}

// again is a form that nothing came of, as it was filled in.
type again struct {
	Path   string
	From   string // the page that it stood on; empty: it is not known
	Fields []field
	Rows   []grantRow
}

// field is a text of a form. What is hidden says what the form is about.
type field struct {
	Name, Label, Value string
	Hidden, Long       bool
}

// labels are the fields that somebody fills in. All others are hidden.
var labels = map[string]string{"value": "what you have entered", "reason": "because", "alias": "our name for it", "compared": "the last group of the fingerprint", "expires_in": "lives for",
	"uses": "can be used", "text": "your answer", "name": "its name here", "order": "place in the order"}

// ofRows are the fields of lines of grants.
var ofRows = []string{"intent", "rate", "bytes", "topics", "personas", "expires", "off"}

// againOf is the form of a request. A change of grants is shown anew before it is saved.
func againOf(r *http.Request) *again {
	a := &again{Path: r.URL.EscapedPath()}
	if rows := rowsIn(r); len(rows) <= maxRows {
		a.Rows = rows
	}
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		if name == "token" || name == "save" || name == "state" || a.Rows != nil && slices.Contains(ofRows, name) {
			continue
		}
		for _, value := range r.PostForm[name] {
			label := labels[name]
			a.Fields = append(a.Fields, field{name, label, value, label == "", name == "text"})
		}
	}
	return a
}

// filled reports whether somebody has written something into a form.
func (a *again) filled() bool {
	return len(a.Rows) > 0 || slices.ContainsFunc(a.Fields, func(f field) bool { return !f.Hidden && strings.TrimSpace(f.Value) != "" })
}

// maxUnsent is how large such a form may be: anybody can send one.
const maxUnsent = 64 << 10

// unsent is a form that came without a session: its session may have ended while it was filled
// in. Who comes in with a code next finds it again. Files, and what is larger than maxUnsent, are not kept.
func unsent(w http.ResponseWriter, r *http.Request) string {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || kind != "application/x-www-form-urlencoded" {
		return ""
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxUnsent)
	if r.ParseForm() != nil || !areTexts(r.PostForm) || !againOf(r).filled() {
		return ""
	}
	form := maps.Clone(r.PostForm)
	form.Del("token")
	return url.Values{"path": {r.URL.EscapedPath()}, "from": {from(r)}, "form": {form.Encode()}}.Encode()
}

// unsentIn is the form that unsent has kept.
func unsentIn(text string) *again {
	kept, err := url.ParseQuery(text)
	if text == "" || err != nil {
		return nil
	}
	form, err := url.ParseQuery(kept.Get("form"))
	if err != nil || !areTexts(form) {
		return nil
	}
	a := againOf(&http.Request{URL: &url.URL{Path: "/"}, PostForm: form})
	a.Path = local(kept.Get("path"))
	if at := kept.Get("from"); at != "" {
		a.From = local(at)
	}
	return a
}

// unsentPage shows the form that this browser has sent when it had no session.
func (s *Server) unsentPage(w http.ResponseWriter, r *http.Request) error {
	a := sessionOf(r).unsent
	if a == nil {
		return core.Refuse(core.NotFound, "there is no form here that waits to be sent")
	}
	e := core.Refuse(core.Forbidden, "the session was over when this was sent; nothing was done")
	e.Hint = "look at it, and send it again"
	return s.render(w, r, "problem", "Not sent yet", problemPage{ErrorView: api.ErrorOf(e), Back: a.From, Again: a})
}

// problem shows an error.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, err error) {
	s.problemOf(w, r, err, nil)
}

// problemOf shows an error, and the form that it is of, if any.
func (s *Server) problemOf(w http.ResponseWriter, r *http.Request, err error, form *again) {
	if r.Context().Err() != nil {
		return // nobody reads it
	}
	p := problemPage{ErrorView: api.ErrorOf(err), Again: form}
	if core.Kind(p.Kind) == core.NotFound {
		p.Again = nil // it would not be found again either
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		p.ErrorView = api.ErrorView{Kind: string(core.TooLarge), Message: "this form is larger than the console takes"}
	}
	p.Back = from(r)
	_ = s.renderStatus(w, r, statusOf(core.Kind(p.Kind)), "problem", "That did not work", p) // it has written what it could
}
