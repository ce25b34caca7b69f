package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

//go:embed pages/*.html
var pages embed.FS

//go:embed static
var static embed.FS

// asset is a file that pages use, under a name that says what is in it.
type asset struct {
	Path, Integrity string
	kind            string
	body            []byte
}

var kinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// assets are the files by the name that templates call them.
var assets = func() map[string]asset {
	out := map[string]asset{}
	files, _ := fs.ReadDir(static, "static") // embedded: it is there
	for _, f := range files {
		body, _ := static.ReadFile("static/" + f.Name())
		sum := sha256.Sum256(body)
		ext := path.Ext(f.Name())
		out[f.Name()] = asset{Path: "/static/" + strings.TrimSuffix(f.Name(), ext) + "-" + hex.EncodeToString(sum[:6]) + ext,
			Integrity: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]), kind: kinds[ext], body: body}
	}
	return out
}()

// serveAsset gives one of our own files to anybody: there is nothing in them to keep.
func serveAsset(w http.ResponseWriter, r *http.Request) {
	for _, a := range assets {
		if a.Path == r.URL.Path {
			w.Header().Set("Content-Type", a.kind)
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			_, _ = w.Write(a.body) // the browser may have gone
			return
		}
	}
	plain(w, http.StatusNotFound, "There is no such file.")
}

// parse reads the pages, by name, each with the layout around it.
func (s *Server) parse() map[string]*template.Template {
	ours := template.FuncMap{
		"ours":  func(t any) template.HTML { return shown("bdi", "ours", 0, s.here(fmt.Sprint(t)), false) },
		"event": func(v api.EventView) string { return api.EventLine(v, s.here) },
	}
	base := template.Must(template.New("").Funcs(functions).Funcs(ours).ParseFS(pages, "pages/layout.html", "pages/parts.html"))
	out := map[string]*template.Template{}
	files, _ := fs.Glob(pages, "pages/*.html") // the pattern is sound
	for _, f := range files {
		name := strings.TrimSuffix(path.Base(f), ".html")
		if name != "layout" && name != "parts" {
			out[name] = template.Must(template.Must(base.Clone()).ParseFS(pages, f))
		}
	}
	return out
}

// functions are what templates can call. What somebody else wrote goes through theirs or
// words, and a text of ours that may have some of it in it through ours.
var functions = template.FuncMap{
	"theirs": theirs, "words": words, "ago": text.Ago, "until": text.Until, "when": when, "count": text.Count,
	"size": func(n int64) string { return text.Bytes(uint64(max(n, 0))) }, "asset": func(name string) asset { return assets[name] },
	"line": api.OneLine, "grant": api.GrantLine, "step": api.StepLine, "rate": rateOf, "most": bytesOf, "join": strings.Join, "groups": func(f string) []string { return strings.Split(f, "-") },
	"set": set, "fates": fatesChart, "hours": hoursChart, "micros": micros, "day": day,
	"many":    func(n int) string { return core.OrMore(n, strconv.Itoa(n)) },
	"notice":  func(t string) template.HTML { return shown("bdi", "ours", 1000, t, false) },    // it may say what a peer has answered
	"named":   func(name string) template.HTML { return shown("bdi", "ours", 0, name, false) }, // of our own choice, perhaps of what a peer has said
	"marked":  text.Marked,
	"brief":   func(t string) string { return text.Marked(cut(t, 100)) }, // readers hear it first of a page
	"payload": payloadOf, "bytes": text.Bytes,
}

// set makes what a template hands to another: names and values in turn.
func set(pairs ...any) (map[string]any, error) {
	out := map[string]any{}
	if len(pairs)%2 != 0 {
		return nil, errors.New("console: set: a name without a value")
	}
	for i := 0; i < len(pairs); i += 2 {
		out[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return out, nil
}

// when is a time that a browser can show in the reader's own way, and that says how long
// ago it was; "never" for the zero time.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return "never"
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, t.UTC().Format(time.RFC3339), t.Local().Format(time.DateTime), text.Ago(t)))
}

// frame is what every page has around it.
type frame struct {
	Title   string
	Nav     []nav
	Notice  string // of what was done
	Token   string // for the page's forms
	Live    int64  // when the page was made, in ms of Unix: it shows what changes from then on; 0: it does not
	Us      string // our name and fingerprint
	Words   string // the fingerprint, to read aloud
	Version string
	Command string // what a command for this gateway begins with
	Path    string // of the page, with its question
	In      bool   // a session
	Page    any
}

// nav is a page that the others lead to.
type nav struct {
	Path, Name string
	Here       bool
	Count      int // of what waits there
}

// render writes a page of a session.
func (s *Server) render(w http.ResponseWriter, r *http.Request, name, title string, page any) error {
	return s.renderStatus(w, r, http.StatusOK, name, title, page)
}

func (s *Server) renderStatus(w http.ResponseWriter, r *http.Request, status int, name, title string, page any) error {
	f := frame{Title: title, Version: s.o.Version, Command: s.o.Command, Path: r.URL.RequestURI(), Page: page}
	if x := sessionOf(r); x != nil {
		f.In, f.Live, f.Token = true, s.o.Now().UnixMilli(), x.token()
		if dest := r.Header.Get("Sec-Fetch-Dest"); dest == "" || dest == "document" { // it is read, and not by a script
			f.Notice = x.said()
		}
		f.Nav = s.nav(r)
		if me, err := api.Whoami.Call(r.Context(), s.o.Caller, api.None{}); err == nil {
			f.Us, f.Words = strings.TrimSpace(me.DisplayName+" "+me.Fingerprint), strings.Join(me.Words, " ")
		}
	}
	var out bytes.Buffer
	if err := s.templates()[name].ExecuteTemplate(&out, "layout", f); err != nil {
		s.o.Logger.Error("a page of the console cannot be written", "page", name, "err", err)
		plain(w, http.StatusInternalServerError, "This page cannot be shown; the gateway's log says why.")
		return nil
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(sober(out.Bytes())) // the browser may have gone
	return nil
}

// here puts this gateway's place into the commands that a text of ours is or names.
func (s *Server) here(t string) string {
	if strings.HasPrefix(t, "ogp ") {
		t = s.o.Command + t[len("ogp"):]
	}
	return strings.ReplaceAll(t, `"ogp `, `"`+s.o.Command+" ")
}

var statusKinds = map[core.Kind]int{
	core.Malformed: http.StatusBadRequest, core.Forbidden: http.StatusForbidden, core.NotFound: http.StatusNotFound, core.UnknownPeer: http.StatusNotFound,
	core.NotApproved: http.StatusConflict, core.Conflict: http.StatusConflict, core.Moved: http.StatusConflict, core.Ambiguous: http.StatusConflict,
	core.TooLarge: http.StatusRequestEntityTooLarge, core.RateLimited: http.StatusTooManyRequests, core.Unavailable: http.StatusServiceUnavailable,
	core.Refused: http.StatusBadGateway, core.Unreachable: http.StatusBadGateway,
}

func statusOf(k core.Kind) int {
	if s, ok := statusKinds[k]; ok {
		return s
	}
	return http.StatusInternalServerError
}
