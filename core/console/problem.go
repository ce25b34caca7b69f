package console

import (
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

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
	Files  []field // the inputs for files, which have to be chosen again; their values are what was chosen
}

// field is a text of a form. What is hidden says what the form is about.
type field struct {
	Name, Label, Value string
	Hidden, Long       bool
}

// labels are the fields that somebody fills in. All others are hidden.
var labels = map[string]string{"value": "what you have entered", "reason": "because", "alias": "our name for it", "compared": "the last group of the fingerprint", "expires_in": "lives for",
	"uses": "can be used", "text": "your answer", "name": "its name here", "order": "place in the order", "rules": "rules"}

// fileLabels are the inputs for files, in their order.
var fileLabels = []field{{Name: "module", Label: "module (.wasm)"}, {Name: "manifest", Label: "its plugin.toml"}, {Name: "cases", Label: "cases (.json)"}}

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
			a.Fields = append(a.Fields, field{name, label, value, label == "", name == "text" || name == "rules"})
		}
	}
	return a
}

// withFiles adds the inputs that a form has for files, by what was chosen in each.
func (a *again) withFiles(chosen url.Values) *again {
	for _, f := range fileLabels {
		if chosen.Has(f.Name) {
			f.Value = strings.TrimSpace(strings.Join(chosen[f.Name], " "))
			a.Files = append(a.Files, f)
		}
	}
	return a
}

// chosen reports whether files were chosen, which have to be chosen again.
func (a *again) chosen() bool {
	return slices.ContainsFunc(a.Files, func(f field) bool { return f.Value != "" })
}

// filled reports whether somebody has written something into a form, or chosen a file.
func (a *again) filled() bool {
	return len(a.Rows) > 0 || a.chosen() || slices.ContainsFunc(a.Fields, func(f field) bool { return !f.Hidden && strings.TrimSpace(f.Value) != "" })
}

// maxUnsent is how large a form may be that is kept: anybody can send one. maxOpen is how large
// the form of a code may be, which such a form may be in: it is escaped three times there, so
// that a byte of it may be seven.
const (
	maxUnsent = 64 << 10
	maxOpen   = 8 * maxUnsent
)

// unsent is a form that came without a session: its session may have ended while it was filled
// in. Who comes in with a code next finds it again. Of files, only their names are kept, and of
// a form that is larger than maxUnsent nothing.
func (s *Server) unsent(w http.ResponseWriter, r *http.Request) string {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	kept := url.Values{"path": {r.URL.EscapedPath()}, "from": {from(r)}}
	switch {
	case r.Method != http.MethodPost:
		return ""
	case kind == "multipart/form-data":
		parts, _ := s.partsOf(w, r, time.Now().Add(maxRequest))
		files, err := fieldsOf(r, parts)
		if err != nil || !areTexts(files) || !againOf(r).withFiles(files).filled() {
			return ""
		}
		kept.Set("files", files.Encode())
	case kind == "application/x-www-form-urlencoded":
		r.Body = http.MaxBytesReader(w, r.Body, maxUnsent)
		if r.ParseForm() != nil || !againOf(r).filled() {
			return ""
		}
	}
	if !areTexts(r.PostForm) {
		return ""
	}
	form := maps.Clone(r.PostForm)
	form.Del("token")
	kept.Set("form", form.Encode())
	return kept.Encode()
}

// fieldsOf reads a form with files to its end, so that its browser gets to read an answer, and
// makes its fields the request's own. Of its files it returns what they are called.
func fieldsOf(r *http.Request, parts *multipart.Reader) (files url.Values, err error) {
	r.PostForm, files = url.Values{}, url.Values{}
	defer func() { _, _ = io.Copy(io.Discard, r.Body) }() // as far as it may be read
	if parts == nil {
		return files, errNoText
	}
	for left := maxUnsent; ; {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return files, cutOff(err)
		}
		into, text := r.PostForm, []byte(part.FileName())
		if _, of, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition")); hasFile(of) {
			into = files
		} else if text, err = io.ReadAll(io.LimitReader(part, int64(left)+1)); err != nil {
			return files, cutOff(err)
		}
		into.Add(part.FormName(), string(text))
		if left -= len(part.FormName()) + len(text) + 1; left < 0 {
			return files, core.Refuse(core.TooLarge, "this form is too large to be kept")
		}
	}
}

// hasFile reports whether a part is of an input for files, in which nothing may be chosen.
func hasFile(disposition map[string]string) bool {
	_, is := disposition["filename"]
	return is
}

// unsentIn is the form that unsent has kept.
func unsentIn(text string) *again {
	kept, err := url.ParseQuery(text)
	if text == "" || err != nil {
		return nil
	}
	form, err1 := url.ParseQuery(kept.Get("form"))
	files, err2 := url.ParseQuery(kept.Get("files"))
	if err1 != nil || err2 != nil || !areTexts(form) || !areTexts(files) {
		return nil
	}
	a := againOf(&http.Request{URL: &url.URL{Path: "/"}, PostForm: form}).withFiles(files)
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
	if a.chosen() {
		e.Hint = "look at it, choose its files again, as they are not kept, and send it"
	}
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
