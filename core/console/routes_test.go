package console

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// witness notes every call but those that the frame of a page makes.
type witness struct {
	control.Caller
	mu     sync.Mutex // guards called
	called []string
}

func (c *witness) Call(ctx context.Context, method string, params, result any) error {
	if asking := (api.PeersParams{Status: core.Pending, Limit: 1}); params != any(asking) && method != string(api.Whoami) {
		c.mu.Lock()
		c.called = append(c.called, method)
		c.mu.Unlock()
	}
	return c.Caller.Call(ctx, method, params, result)
}

// took are the calls since the last look.
func (c *witness) took() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := strings.Join(c.called, " ")
	c.called = nil
	return out
}

var wildcard = regexp.MustCompile(`\{(\w+)\}`)

// routesOf are the paths of a method, from the table itself: a new line cannot be forgotten.
// What has no method shows that there is no such page.
func routesOf(t *testing.T, s *Server, method string) (out []string) {
	t.Helper()
	for _, pattern := range s.routes().patterns {
		of, path, found := strings.Cut(pattern, " ")
		switch {
		case !found && pattern == "/":
		case of != "GET" && of != "POST":
			t.Errorf("the line %q is neither a page nor an act", pattern)
		case of == method:
			path = strings.ReplaceAll(strings.TrimSuffix(path, "{$}"), "{act}", "remove")
			out = append(out, wildcard.ReplaceAllString(path, "ben"))
		}
	}
	if len(out) < 10 {
		t.Fatalf("%s: only %d lines were found", method, len(out))
	}
	return out
}

// formOf is a form for an act, as its page sends it: with files or without.
func formOf(path, token string) (kind, body string) {
	if path != "/policies/upload" && path != "/policies/machine" {
		return "application/x-www-form-urlencoded", url.Values{"token": {token}, "id": {"x"}, "value": {"ben"}, "intent": {"message"}, "key": {"email"}}.Encode()
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("token", token)
	_ = w.WriteField("with", "now")
	_ = w.Close()
	return w.FormDataContentType(), b.String()
}

// TestW2EveryRoute attacks each line of the table. docs/threat-model.md#w2
func TestW2EveryRoute(t *testing.T) {
	s, f, b := open(t)
	seen := &witness{Caller: append(f.handlers(), f.policies(&uploads{slow: make(chan bool, 2)})...)}
	s.o.Caller = seen
	now := time.Now()
	s.sessions.now = func() time.Time { return now }
	b.enter(s)
	at, _ := url.Parse(b.base)
	cookie := b.Jar.Cookies(at)[0]
	b.Jar = nil
	try := func(method, path, token string, change func(*http.Request)) int {
		t.Helper()
		kind, body := formOf(path, token)
		r, _ := http.NewRequest(method, b.base+path, strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		r.AddCookie(cookie)
		if change != nil {
			change(r)
		}
		resp, err := b.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	mine, _ := s.sessions.of(&http.Request{Header: http.Header{"Cookie": {cookie.String()}}})
	other := s.sessionToken(t)
	for _, path := range routesOf(t, s, "POST") {
		for name, c := range map[string]struct {
			token  string
			change func(*http.Request)
			want   int
		}{
			"another site":         {mine.token(), header("Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
			"another port":         {mine.token(), header("Sec-Fetch-Site", "same-site"), http.StatusForbidden},
			"another origin":       {mine.token(), header("Origin", "http://evil.example"), http.StatusForbidden},
			"our name, other port": {mine.token(), header("Origin", "http://127.0.0.1:1"), http.StatusForbidden},
			"no origin":            {mine.token(), header("Origin", "null"), http.StatusForbidden},
			"another host":         {mine.token(), func(r *http.Request) { r.Host = "evil.example" }, http.StatusMisdirectedRequest},
			"no session":           {mine.token(), func(r *http.Request) { r.Header.Del("Cookie") }, http.StatusUnauthorized},
			"no such session":      {mine.token(), header("Cookie", cookie.Name+"=x"), http.StatusUnauthorized},
			"no token":             {"", nil, http.StatusForbidden},
			"another's token":      {other, nil, http.StatusForbidden},
			"token in the address": {"", func(r *http.Request) { r.URL.RawQuery = url.Values{"token": {mine.token()}}.Encode() }, http.StatusForbidden},
		} {
			if path == "/open" && c.want != http.StatusMisdirectedRequest { // it takes a code, and no session
				c.want = http.StatusForbidden
			}
			if got := try("POST", path, c.token, c.change); got != c.want {
				t.Errorf("%s, %s: %d, want %d", path, name, got, c.want)
			}
			if calls := seen.took(); calls != "" {
				t.Errorf("%s, %s: calls %s", path, name, calls)
			}
		}
		if path == "/open" || path == "/leave" { // they carry no token, or end the session
			continue
		}
		once := mine.token()
		try("POST", path, once, nil)
		seen.took()
		if got := try("POST", path, once, nil); got != http.StatusConflict || seen.took() != "" {
			t.Errorf("%s twice: %d", path, got)
		}
	}
	for _, path := range routesOf(t, s, "GET") {
		if path == "/static/" || path == "/open" { // they show nothing of anybody's
			continue
		}
		for name, c := range map[string]struct {
			change func(*http.Request)
			want   int
		}{
			"another site": {header("Sec-Fetch-Site", "cross-site"), http.StatusUnauthorized},
			"another port": {header("Sec-Fetch-Site", "same-site"), http.StatusUnauthorized},
			"another host": {func(r *http.Request) { r.Host = "evil.example" }, http.StatusMisdirectedRequest},
			"no session":   {func(r *http.Request) { r.Header.Del("Cookie") }, http.StatusUnauthorized},
		} {
			out, stop := context.WithTimeout(t.Context(), 30*time.Second) // a stream would not end
			got := try("GET", path+"?look=1", "", func(r *http.Request) { *r = *r.WithContext(out); c.change(r) })
			stop()
			if calls := seen.took(); got != c.want || calls != "" {
				t.Errorf("%s, %s: %d, want %d; calls %s", path, name, got, c.want, calls)
			}
		}
	}
	token := mine.token()
	now = now.Add(sessionLife + time.Second)
	for _, path := range routesOf(t, s, "POST") {
		if got := try("POST", path, token, nil); got != http.StatusUnauthorized && path != "/open" || seen.took() != "" {
			t.Errorf("%s after the end of the session: %d", path, got)
		}
	}
}

// TestW2OneStylesheet: as the policy knows no hash of a stylesheet, nothing but the one file of ours
// is answered as one, or as a script. docs/threat-model.md#w2
func TestW2OneStylesheet(t *testing.T) {
	s, f, b := open(t)
	s.o.Caller = append(f.handlers(), f.policies(&uploads{slow: make(chan bool, 2)})...)
	b.enter(s)
	for _, path := range append(routesOf(t, s, "GET"), everyPage...) {
		if path == "/stream" { // it has no end, and says what it is
			continue
		}
		r, _ := b.get(path)
		if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "text/html" && kind != "text/plain" && (r.StatusCode != http.StatusSeeOther || kind != "") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s is answered as %q", path, kind)
		}
	}
	kinds := map[string]int{}
	for name, a := range assets {
		r, text := b.get(a.Path)
		if kinds[r.Header.Get("Content-Type")]++; text != string(a.body) {
			t.Errorf("%s is another file", name)
		}
	}
	if kinds["text/css; charset=utf-8"] != 1 || kinds["text/javascript; charset=utf-8"] != 1 {
		t.Errorf("the files: %v", kinds)
	}
}

// TestW1CookiesOfOtherPorts: a server on another port can set a cookie of our name, which
// the browser may send first; it keeps nobody out.
func TestW1CookiesOfOtherPorts(t *testing.T) {
	s, _, b := open(t)
	b.enter(s)
	at, _ := url.Parse(b.base)
	cookie := b.Jar.Cookies(at)[0].String()
	b.Jar = nil
	if r, _ := b.do("GET", "/peers", nil, func(r *http.Request) { r.Header.Set("Cookie", s.sessions.name+"=tossed; "+cookie) }); r.StatusCode != http.StatusOK {
		t.Errorf("beside a cookie of another port's: %d", r.StatusCode)
	}
}

// TestW2NoticesOfTheirs: what a peer has answered stands in a notice as its words do elsewhere.
func TestW2NoticesOfTheirs(t *testing.T) {
	s, f, b := open(t)
	said := hostile + strings.Repeat("x", 5000)
	s.o.Caller = append(control.Local{api.Approve.Handle(func(_ context.Context, p api.ApproveParams) (api.OutgoingView, error) {
		return api.OutgoingView{Peer: f.peer(p.Peer), State: string(core.OutRefused), Error: &api.ErrorView{Message: said}}, nil
	})}, f.handlers()...)
	b.enter(s)
	fingerprint := f.key.Fingerprint()
	last := fingerprint[strings.LastIndex(fingerprint, "-")+1:]
	r, _ := b.post("/requests/X/approve", url.Values{"token": {b.token()}, "compared": {last}, "intent": {"message"}})
	if r.StatusCode != http.StatusSeeOther {
		t.Fatalf("approving: %d", r.StatusCode)
	}
	_, text := b.get("/peers/ben")
	notice := text[strings.Index(text, `role="status"`):]
	notice = notice[:strings.Index(notice, "</p>")]
	if strings.ContainsAny(notice, "\u202e\u200b") || !strings.Contains(notice, "U+202E") || len(notice) > 3000 {
		t.Errorf("the notice, %d bytes: %.600s", len(notice), notice)
	}
}

// TestRefusalsWithoutAWord: a peer that says no may give no reason.
func TestRefusalsWithoutAWord(t *testing.T) {
	s, f, b := open(t)
	s.o.Caller = append(control.Local{
		api.Grant.Handle(func(_ context.Context, p api.ApproveParams) (api.OutgoingView, error) {
			return api.OutgoingView{Peer: f.peer(p.Peer), State: string(core.OutRefused)}, nil
		}),
		api.Remove.Handle(func(_ context.Context, p api.EndParams) (api.RemoveResult, error) {
			return api.RemoveResult{Peer: f.peer(p.Peer)}, nil
		}),
	}, f.handlers()...)
	b.enter(s)
	for path, form := range map[string]url.Values{
		"/peers/ben/grants": {"intent": {"message"}, "save": {"yes"}, "state": {stateOf(f.peer("ben").Grants())}},
		"/peers/ben/remove": {"value": {"ben"}},
	} {
		form.Set("token", b.token())
		if r, text := b.post(path, form); r.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %d %s", path, r.StatusCode, text)
		}
	}
}

// TestNoticesWait: a script that looks anew does not take the sentence that a page is to show,
// also where it is led to another page, as a request that was approved does not wait any more.
func TestNoticesWait(t *testing.T) {
	s, _, b := open(t)
	b.enter(s)
	b.post("/peers/ben/pause", url.Values{"token": {b.token()}})
	for _, x := range []struct {
		path, dest string
		want       bool
	}{{"/peers/ben", "empty", false}, {"/requests/ben", "empty", false}, {"/peers/ben", "document", true}, {"/peers/ben", "document", false}} {
		_, text := b.do("GET", x.path, nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", x.dest) })
		if strings.Contains(text, "Paused ben") != x.want {
			t.Errorf("%s, for %s: want the notice: %v", x.path, x.dest, x.want)
		}
	}
}

// TestNoText: what is not written in UTF-8 is the sender's fault, in an address and in a form.
func TestNoText(t *testing.T) {
	s, f, b := open(t)
	b.enter(s)
	for _, path := range []string{"/peers/%ff", "/message/%ff", "/peers?q=%ff", "/messages?box=in&before=%ff", "/live?peer=%ff", "/messages/ben?conversation=%ff", "/peers?%ff=x"} {
		if r, _ := b.get(path); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	for _, form := range []url.Values{{"id": {"\xff"}}, {"\xff": {"x"}}, {"id": {"x", "\xff"}}} {
		form.Set("token", b.token())
		if r, _ := b.post("/held/release", form); r.StatusCode != http.StatusBadRequest || f.noted() != "" {
			t.Errorf("%q: %d, done: %s", form, r.StatusCode, f.noted())
		}
	}
	kind, body := formOf("/policies/machine", b.token())
	body = strings.Replace(body, "now", "\xff", 1)
	if r, _ := b.do("POST", "/policies/machine", nil, func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", kind)
	}); r.StatusCode != http.StatusBadRequest {
		t.Errorf("a form with files: %d", r.StatusCode)
	}
}

// TestW2LookAlikes: letters of another script that look like ours are said to be of it, in what
// others wrote and in a name that was taken over from there. docs/threat-model.md#w2
func TestW2LookAlikes(t *testing.T) {
	s, f, b := open(t)
	s.o.Caller = append(control.Local{
		api.Peer.Handle(func(_ context.Context, p api.PeerRef) (api.PeerView, error) {
			v := f.peer("ben")
			v.Alias, v.Unverified.DisplayName, v.Unverified.Organization = "раypal", "Оре", "Яндекс"
			return v, nil
		}),
		api.PeersPage.Handle(func(context.Context, api.PeersParams) (api.PeersPageView, error) {
			v := f.peer("ben")
			v.Alias = "раypal"
			return api.PeersPageView{Peers: []api.PeerView{v}, Total: 1}, nil
		}),
	}, f.handlers()...)
	b.enter(s)
	mark := `раypal<span class="script"`
	_, page := b.get("/peers/ben")
	for _, want := range []string{"<title>раypal (Cyrillic&#43;Latin) · ogp</title>", mark, `>Cyrillic+Latin</span>`, `Оре<span class="script"`, ">Яндекс</bdi>"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	_, list := b.get("/peers")
	if !strings.Contains(list, mark) || strings.Contains(list, ">раypal</text>") {
		t.Errorf("the list has no mark:\n%s", list)
	}
	if cut := theirs(3, "x раypal"); !strings.Contains(string(cut), "Cyrillic+Latin") {
		t.Errorf("cut: %s", cut)
	}
	if cut := theirs(1, "x раypal"); strings.Contains(string(cut), "Cyrillic") {
		t.Errorf("cut before it: %s", cut)
	}
}
