package console

import (
	"errors"
	"maps"
	"net/http"
	"slices"

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
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		p.ErrorView = api.ErrorView{Kind: string(core.TooLarge), Message: "this form is larger than the console takes"}
	}
	p.Back = from(r)
	_ = s.renderStatus(w, r, statusOf(core.Kind(p.Kind)), "problem", "That did not work", p) // it has written what it could
}
