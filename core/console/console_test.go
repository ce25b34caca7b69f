package console

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// hostile is what a peer may write in any place.
const hostile = "</pre><script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{.}} \u202e\u200bturned"

// fake is a gateway with one request, one peer and one held message, all of them hostile.
type fake struct {
	mu    sync.Mutex // guards calls
	calls []string
	key   core.PublicKey
}

func (f *fake) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fake) noted() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, " ")
}

func (f *fake) peer(ref string) api.PeerView {
	names := core.Names{DisplayName: hostile, Organization: hostile, Email: hostile}
	v := api.PeerView{Fingerprint: f.key.Fingerprint(), PublicKey: f.key, State: core.Pending, Standing: "pending", Unverified: names, URL: "https://x.example/" + hostile, Offered: []string{hostile}, Signature: "v2"}
	if ref == "ben" || strings.HasPrefix(ref, "BEN") {
		v.Alias, v.State, v.Standing, v.Fingerprint = "ben", core.Approved, "approved", "BENB-ENBE-NBEN-BENB-ENBE"
		v.Received = []core.Grant{{Intent: hostile, Enabled: true, Topics: []string{hostile}}}
		v.Granted = []api.GrantView{{Grant: core.Grant{Intent: "message", Enabled: true}}}
		v.Health.LastError, v.Version = hostile, hostile
	}
	v.Name = v.Handle()
	return v
}

func (f *fake) handlers() control.Local {
	out := func(p api.PeerView) api.OutgoingView { return api.OutgoingView{Peer: p, State: "sent"} }
	return append(f.said(), control.Local{
		api.Whoami.Handle(func(context.Context, api.None) (api.WhoamiView, error) {
			return api.WhoamiView{DisplayName: "us", Fingerprint: "OURS"}, nil
		}),
		api.Status.Handle(func(context.Context, api.None) (api.StatusView, error) { return api.StatusView{Running: true}, nil }),
		api.Doctor.Handle(func(context.Context, api.DoctorParams) ([]api.Check, error) {
			return []api.Check{{Name: "reach", State: api.CheckFail, Text: hostile, Fix: `"ogp status" shows it`}}, nil
		}),
		api.Peers.Handle(func(_ context.Context, p api.PeersParams) ([]api.PeerView, error) {
			if p.Status == core.Pending {
				return []api.PeerView{f.peer("")}, nil
			}
			return []api.PeerView{f.peer("ben"), f.peer("")}, nil
		}),
		api.Peer.Handle(func(_ context.Context, p api.PeerRef) (api.PeerView, error) { return f.peer(p.Peer), nil }),
		api.DefaultGrants.Handle(func(context.Context, api.None) ([]core.Grant, error) {
			return []core.Grant{{Intent: "message", Enabled: true}}, nil
		}),
		api.Approve.Handle(func(_ context.Context, p api.ApproveParams) (api.OutgoingView, error) {
			f.note("approve")
			return out(f.peer(p.Peer)), nil
		}),
		api.Grant.Handle(func(_ context.Context, p api.ApproveParams) (api.OutgoingView, error) {
			f.note("grant")
			return out(f.peer(p.Peer)), nil
		}),
		api.Reject.Handle(func(_ context.Context, p api.EndParams) (api.OutgoingView, error) {
			f.note("reject")
			return out(f.peer(p.Peer)), nil
		}),
		api.Remove.Handle(func(_ context.Context, p api.EndParams) (api.RemoveResult, error) {
			f.note("remove")
			return api.RemoveResult{Peer: f.peer(p.Peer), Notified: true}, nil
		}),
		api.Pause.Handle(func(_ context.Context, p api.PauseParams) (api.PeerView, error) {
			f.note("pause")
			return f.peer(p.Peer), nil
		}),
		api.Inbox.Handle(func(context.Context, api.InboxParams) ([]api.InboxView, error) {
			m := core.InboxMessage{ID: "01M", At: time.Now(), Status: core.InboxHeld, Reason: hostile, Message: core.Message{Intent: hostile}}
			return []api.InboxView{{InboxMessage: m, From: hostile, Fingerprint: "BENB-ENBE-NBEN-BENB-ENBE", Text: hostile}}, nil
		}),
		api.InboxRelease.Handle(func(context.Context, api.IDParams) (api.InboxView, error) {
			f.note("release")
			return api.InboxView{From: "ben"}, nil
		}),
		api.Outbox.Handle(func(context.Context, api.OutboxParams) ([]api.OutboxView, error) {
			return []api.OutboxView{{OutboxItem: core.OutboxItem{ID: "01O", Kind: core.OutMessage, Error: hostile}, To: "ben"}}, nil
		}),
		api.Config.Handle(func(context.Context, api.ConfigParams) (api.ConfigView, error) {
			return api.ConfigView{File: "/x/config.toml", Settings: []api.SettingView{{Key: "display_name", Value: "us", Doc: "Our name.", From: "/x/config.toml:3", Override: "OGP_DISPLAY_NAME"}},
				Differs: []api.ConfigDifference{{Key: "display_name", InForce: hostile, File: hostile}}}, nil
		}),
		api.ConfigSet.Handle(func(_ context.Context, p api.SettingParams) (api.SettingResult, error) {
			f.note("set:" + p.Key + "=" + p.Value)
			return api.SettingResult{File: "/x/config.toml", Restart: `"ogp stop", then "ogp start"`}, nil
		}),
		api.Invites.Handle(func(context.Context, api.None) ([]api.InviteView, error) {
			return []api.InviteView{{Code: "abc123", Uses: 2, Used: 1}}, nil
		}),
		api.Invite.Handle(func(_ context.Context, p api.InviteParams) (api.InviteView, error) {
			f.note(fmt.Sprintf("invite:%d,%d,%v,%d", p.Uses, p.ExpiresMillis, p.Approve, len(p.Grants)))
			return api.InviteView{Code: "abc123", Long: "abc123-AAAA", Link: "https://r.example/#abc123", Approves: p.Approve}, nil
		}),
		api.RevokeInvite.Handle(func(_ context.Context, p api.CodeParams) (api.None, error) {
			f.note("revoke:" + p.Code)
			return api.None{}, nil
		}),
		api.Deliveries.Handle(func(context.Context, api.DeliveryParams) ([]api.DeliveryView, error) {
			return []api.DeliveryView{{Event: "01E", Notifier: "webhook", Type: core.EventMessage, From: hostile, Error: hostile}}, nil
		}),
	}...)
}

// browser is a client with cookies that follows no redirect.
type browser struct {
	*http.Client
	t    *testing.T
	base string
}

func open(t *testing.T) (*Server, *fake, *browser) {
	t.Helper()
	f := &fake{key: core.PublicKey{1, 2, 3}}
	s := New(Options{Caller: f.handlers(), Command: "ogp --home /x", Version: "1.2.3", Logger: slog.New(slog.DiscardHandler),
		Events: func(ctx context.Context, p api.EventParams, send func(api.EventView) error) error {
			err := send(api.EventView{Event: core.Event{ID: "01", Type: core.EventDeliveryFailed, Text: "It happened.", Data: core.Raw(`{"notifier":"log","error":"` + strings.NewReplacer(`"`, `'`).Replace(hostile) + `"}`)}, From: hostile, Fingerprint: "BENB-ENBE-NBEN-BENB-ENBE"})
			if p.Kept {
				return err
			}
			<-ctx.Done()
			return err
		},
		Where:  func() string { return "" },
		Listen: func() (net.Listener, func(string) bool, error) { return Listen("127.0.0.1:0", "", "") }})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	jar, _ := cookiejar.New(nil)
	b := &browser{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, t, ""}
	return s, f, b
}

// enter opens the console and shows the code.
func (b *browser) enter(s *Server) {
	b.t.Helper()
	v := must(b.t, s)
	b.base = "http://" + v.Address
	if r, _ := b.post("/open", url.Values{"code": {v.Code}}); r.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("the code was answered %d", r.StatusCode)
	}
}

func must(t *testing.T, s *Server) api.ConsoleView {
	t.Helper()
	for range 3000 { // Run begins beside us
		v, err := s.Open(nil)
		if err == nil {
			return v
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the console does not open")
	panic("")
}

func (b *browser) do(method, path string, form url.Values, change func(*http.Request)) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequest(method, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if change != nil {
		change(r)
	}
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp, string(text)
}

func (b *browser) get(path string) (*http.Response, string) {
	b.t.Helper()
	return b.do("GET", path, nil, nil)
}
func (b *browser) post(path string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	return b.do("POST", path, form, nil)
}

var tokenForm = regexp.MustCompile(`name="token" value="([^"]+)"`)

// token is a fresh one of a page.
func (b *browser) token() string {
	b.t.Helper()
	_, text := b.get("/peers/ben")
	m := tokenForm.FindStringSubmatch(text)
	if m == nil {
		b.t.Fatalf("no token in %s", text)
	}
	return m[1]
}

// everyPage are pages that a session can look at.
var everyPage = []string{"/", "/requests", "/requests/X", "/requests/X?look=1", "/peers", "/peers/ben", "/peers/ben?look=1", "/invites", "/settings", "/messages", "/messages?box=in&q=x", "/messages?box=out", "/messages/ben", "/messages/ben?conversation=c&q=x&before=x", "/message/01M", "/sent/01O", "/live", "/live?type=message&peer=ben", "/health", "/peers?q=" + url.QueryEscape(strings.Trim(hostile, "\u202e\u200bturned"))}

// TestW1OnlyWithACode: docs/threat-model.md#w1
func TestW1OnlyWithACode(t *testing.T) {
	s, f, b := open(t)
	v := must(t, s)
	b.base = "http://" + v.Address
	for _, path := range everyPage {
		if r, text := b.get(path); r.StatusCode != http.StatusUnauthorized || strings.Contains(text, "BENB") || strings.Contains(text, "<nav") {
			t.Errorf("%s without a session: %d", path, r.StatusCode)
		}
	}
	for _, path := range []string{"/requests/X/approve", "/peers/ben/remove", "/held/release", "/leave"} {
		if r, _ := b.post(path, url.Values{"token": {"x"}}); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a session: %d", path, r.StatusCode)
		}
	}
	for _, code := range []string{"", "AAAA", v.Code + "A"} {
		if r, _ := b.post("/open", url.Values{"code": {code}}); r.StatusCode != http.StatusForbidden {
			t.Errorf("the code %q was answered %d", code, r.StatusCode)
		}
	}
	if r, _ := b.get("/open"); r.StatusCode != http.StatusOK { // a preview spends nothing
		t.Errorf("the page for the code: %d", r.StatusCode)
	}
	r, _ := b.post("/open", url.Values{"code": {" " + strings.ToLower(v.Code) + " "}})
	if r.StatusCode != http.StatusSeeOther {
		t.Fatalf("the code was answered %d", r.StatusCode)
	}
	cookie := r.Header.Get("Set-Cookie")
	for _, want := range []string{s.sessions.name, "HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie lacks %s: %s", want, cookie)
		}
	}
	if r, _ := b.get("/"); r.StatusCode != http.StatusOK {
		t.Errorf("with a session: %d", r.StatusCode)
	}
	if r, _ := b.post("/open", url.Values{"code": {v.Code}}); r.StatusCode != http.StatusForbidden {
		t.Errorf("the same code again: %d", r.StatusCode)
	}
	if f.noted() != "" {
		t.Errorf("something was done: %s", f.noted())
	}
}

// TestW1HostsOfOurs: docs/threat-model.md#w1
func TestW1HostsOfOurs(t *testing.T) {
	s, _, b := open(t)
	b.enter(s)
	at, _ := url.Parse(b.base)
	cookie := b.Jar.Cookies(at)[0].String()
	b.Jar = nil
	for host, want := range map[string]int{"127.0.0.1:1": http.StatusOK, "localhost:9": http.StatusOK, "[::1]:9": http.StatusOK, s.sessions.host + ":80": http.StatusOK,
		"evil.example": http.StatusMisdirectedRequest, "127.0.0.1.evil.example": http.StatusMisdirectedRequest, "localhost.evil.example:80": http.StatusMisdirectedRequest,
		"ogp.localhost": http.StatusMisdirectedRequest, "0.0.0.0": http.StatusMisdirectedRequest} {
		if r, _ := b.do("GET", "/", nil, func(r *http.Request) { r.Host = host; r.Header.Set("Cookie", cookie) }); r.StatusCode != want {
			t.Errorf("Host %q: %d, want %d", host, r.StatusCode, want)
		}
	}
}

// TestW1SessionsEnd: docs/threat-model.md#w1
func TestW1SessionsEnd(t *testing.T) {
	s, f, b := open(t)
	now := time.Now()
	s.sessions.now = func() time.Time { return now }
	b.enter(s)
	token := b.token()
	now = now.Add(sessionLife + time.Second)
	if r, _ := b.post("/held/release", url.Values{"token": {token}, "id": {"x"}}); r.StatusCode != http.StatusUnauthorized || f.noted() != "" {
		t.Errorf("after its end: %d, done: %s", r.StatusCode, f.noted())
	}
	late := must(t, s)
	now = now.Add(codeLife)
	if r, _ := b.post("/open", url.Values{"code": {late.Code}}); r.StatusCode != http.StatusForbidden {
		t.Errorf("a code after its end: %d", r.StatusCode)
	}
	b.enter(s)
	if r, _ := b.post("/leave", url.Values{"token": {b.token()}}); r.StatusCode != http.StatusSeeOther {
		t.Errorf("leaving: %d", r.StatusCode)
	}
	if r, _ := b.get("/"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("after leaving: %d", r.StatusCode)
	}
	b.enter(s)
	s.End()
	if _, err := b.Get(b.base + "/"); err == nil {
		t.Error("it listens after its end")
	}
	b.enter(s)
}

// TestAnotherAddress: once the setting has changed, the next "ogp console" opens it there.
func TestAnotherAddress(t *testing.T) {
	s, _, b := open(t)
	b.enter(s)
	if must(t, s).Address != strings.TrimPrefix(b.base, "http://") {
		t.Error("a second code has another address")
	}
	s.o.Where = func() string { return "elsewhere" }
	if must(t, s).Address == strings.TrimPrefix(b.base, "http://") {
		t.Error("it is open where it was")
	}
	if _, err := b.Get(b.base + "/"); err == nil {
		t.Error("it listens at both")
	}
}

// TestNameIn: the link has a name that the certificate has.
func TestNameIn(t *testing.T) {
	for want, leaf := range map[string]*x509.Certificate{
		"ogp.example": {DNSNames: []string{"*.example", "ogp.example", "b.example"}},
		"192.0.2.7":   {DNSNames: []string{"*.example"}, IPAddresses: []net.IP{net.ParseIP("192.0.2.7")}},
		"":            {},
	} {
		if got := nameIn(leaf); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestW1SessionsAreBounded: neither codes nor sessions nor forms grow without end.
func TestW1SessionsAreBounded(t *testing.T) {
	s := newSessions(time.Now)
	for range 10 * maxSessions {
		code, _ := s.invite(anybody)
		if _, err := s.redeem(code, func() account { return account{} }, nil); err != nil {
			t.Fatal("a fresh code does not count")
		}
		s.invite(anybody)
	}
	if len(s.codes) > maxCodes || len(s.live) > maxSessions {
		t.Errorf("%d codes, %d sessions", len(s.codes), len(s.live))
	}
	for _, x := range s.live {
		for range maxUsed {
			x.spend(x.token())
		}
		if _, fresh := x.spend(x.token()); fresh {
			t.Error("a session spends forms without end")
		}
		break
	}
}

// TestW2FormsOfOurs: docs/threat-model.md#w2
func TestW2FormsOfOurs(t *testing.T) {
	s, f, b := open(t)
	b.enter(s)
	form := func(more ...string) url.Values {
		v := url.Values{"token": {b.token()}, "id": {"x"}}
		for i := 0; i < len(more); i += 2 {
			v[more[i]] = append(v[more[i]], more[i+1])
		}
		return v
	}
	for name, change := range map[string]func(*http.Request){
		"another site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"another port":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"another origin": func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
		"no origin":      func(r *http.Request) { r.Header.Set("Origin", "null") },
	} {
		if r, _ := b.do("POST", "/held/release", form(), change); r.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
	}
	for _, token := range []string{"", "x", ".", "A.", s.sessionToken(t)} {
		if r, _ := b.post("/held/release", url.Values{"token": {token}, "id": {"x"}}); r.StatusCode != http.StatusForbidden {
			t.Errorf("the token %q: %d", token, r.StatusCode)
		}
	}
	if f.noted() != "" {
		t.Fatalf("something was done: %s", f.noted())
	}
	once := form()
	for i, want := range []int{http.StatusSeeOther, http.StatusConflict} {
		if r, _ := b.post("/held/release", once); r.StatusCode != want {
			t.Errorf("try %d: %d, want %d", i+1, r.StatusCode, want)
		}
	}
	if r, _ := b.post("/held/release", form("back", "//evil.example/x")); r.Header.Get("Location") != "/" {
		t.Errorf("back leads to %s", r.Header.Get("Location"))
	}
	if r, _ := b.do("POST", "/held/release", form("reason", strings.Repeat("x", maxBody)), nil); r.StatusCode != http.StatusRequestEntityTooLarge && r.StatusCode != http.StatusBadRequest {
		t.Errorf("a form that is too large: %d", r.StatusCode)
	}
	if f.noted() != "release release" {
		t.Errorf("done: %s", f.noted())
	}
	r, _ := b.get("/")
	for header, want := range map[string]string{"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
		if r.Header.Get(header) != want {
			t.Errorf("%s: %q", header, r.Header.Get(header))
		}
	}
}

// sessionToken is a token of another session.
func (s *Server) sessionToken(t *testing.T) string {
	t.Helper()
	code, _ := s.sessions.invite(anybody)
	value, _ := s.sessions.redeem(code, func() account { return account{} }, nil)
	r, _ := http.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: s.sessions.name, Value: value})
	x, _ := s.sessions.of(r)
	return x.token()
}

// TestW2TheirWords: docs/threat-model.md#w2
func TestW2TheirWords(t *testing.T) {
	s, _, b := open(t)
	b.enter(s)
	for _, path := range everyPage {
		if path == "/" {
			s.doctor.found = looked{time.Now(), []api.Check{{State: api.CheckFail, Name: "x", Text: hostile, Fix: `ogp doctor, then "ogp status"`}}}
		}
		r, text := b.get(path)
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
		for _, bad := range []string{"<script>alert", "<img src=x", "\u202e", "\u200b", `"'><`, "ZgotmplZ"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q in it", path, bad)
			}
		}
		if strings.Contains(text, " style=") || strings.Contains(text, " onclick=") || strings.Contains(text, "<style") {
			t.Errorf("%s has style or script within the page", path)
		}
		if len(text) > 100<<10 {
			t.Errorf("%s weighs %d bytes", path, len(text))
		}
	}
	_, text := b.get("/")
	if !strings.Contains(text, "ogp --home /x doctor") || !strings.Contains(text, "ogp --home /x status") {
		t.Error("a command of a fix does not name the gateway")
	}
	if !strings.Contains(text, `title="an invisible character, shown as its number">U+202E`) {
		t.Error("an invisible character is not shown")
	}
}

// TestApprovingIsComparing: the last group of the fingerprint approves, and nothing else.
func TestApprovingIsComparing(t *testing.T) {
	s, f, b := open(t)
	b.enter(s)
	print := f.key.Fingerprint()
	last := print[len(print)-4:]
	try := func(compared string, rows ...string) int {
		form := url.Values{"token": {b.token()}, "compared": {compared}, "intent": {"message", ""}, "rate": {"10/1h", ""}, "expires": {"30d", ""}}
		for i := 0; i < len(rows); i += 2 {
			form.Set(rows[i], rows[i+1])
		}
		r, _ := b.post("/requests/"+print+"/approve", form)
		return r.StatusCode
	}
	for _, wrong := range []string{"", "AAAA", print[:4], last + "A"} {
		if got := try(wrong); got != http.StatusForbidden {
			t.Errorf("compared %q: %d", wrong, got)
		}
	}
	for _, wrong := range [][]string{{"rate", "ten"}, {"bytes", "-1"}, {"expires", "2001-01-01"}, {"intent", ""}} {
		if got := try(last, wrong...); got != http.StatusBadRequest {
			t.Errorf("%v: %d", wrong, got)
		}
	}
	if f.noted() != "" {
		t.Fatalf("done: %s", f.noted())
	}
	if got := try(strings.ToLower(last)); got != http.StatusSeeOther || f.noted() != "approve" {
		t.Errorf("compared: %d, done: %s", got, f.noted())
	}
}

// TestGrantsAreShownFirst: a change of grants is shown, and saved only over what was shown.
func TestGrantsAreShownFirst(t *testing.T) {
	s, f, b := open(t)
	b.enter(s)
	form := url.Values{"token": {b.token()}, "intent": {"message", "agent-comms", ""}, "rate": {"5/1m", "", ""}, "topics": {"", "general, sales", ""}}
	r, text := b.post("/peers/ben/grants", form)
	if r.StatusCode != http.StatusOK || f.noted() != "" || !strings.Contains(text, "5/1m") || !strings.Contains(text, "topics general,sales") {
		t.Fatalf("the difference: %d, done: %s\n%s", r.StatusCode, f.noted(), text)
	}
	form.Set("save", "yes")
	form.Set("token", b.token())
	form.Set("state", "something else")
	if r, _ := b.post("/peers/ben/grants", form); r.StatusCode != http.StatusConflict || f.noted() != "" {
		t.Errorf("over other grants: %d, done: %s", r.StatusCode, f.noted())
	}
	form.Set("token", b.token())
	form.Set("state", stateOf([]core.Grant{{Intent: "message", Enabled: true}}))
	if r, _ := b.post("/peers/ben/grants", form); r.StatusCode != http.StatusSeeOther || f.noted() != "grant" {
		t.Errorf("saved: %d, done: %s", r.StatusCode, f.noted())
	}
}

// TestRemovingNamesThePeer: only who types its name ends a federation.
func TestRemovingNamesThePeer(t *testing.T) {
	s, f, b := open(t)
	b.enter(s)
	for value, want := range map[string]int{"": http.StatusForbidden, "be": http.StatusForbidden, "ben": http.StatusSeeOther} {
		if r, _ := b.post("/peers/ben/remove", url.Values{"token": {b.token()}, "value": {value}}); r.StatusCode != want {
			t.Errorf("%q: %d, want %d", value, r.StatusCode, want)
		}
	}
	if f.noted() != "remove" {
		t.Errorf("done: %s", f.noted())
	}
}

// TestOneStream: a browser has one stream, which says that something has happened and ends
// with the session.
func TestOneStream(t *testing.T) {
	s, _, b := open(t)
	b.enter(s)
	first, err := b.Get(b.base + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	told := func(name string, in *bufio.Reader) {
		for text := ""; !strings.HasSuffix(text, "id: 01\nevent: happened\ndata: 1\n"); {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("the %s stream: %v after %q", name, err, text)
			}
			text += line
		}
	}
	in := bufio.NewReader(first.Body)
	told("first", in)
	second, err := b.Get(b.base + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Body.Close()
	if _, err := io.ReadAll(in); err != nil {
		t.Errorf("the first stream's end: %v", err)
	}
	in = bufio.NewReader(second.Body)
	told("second", in)
	go s.End()
	if _, err := io.ReadAll(in); err != nil {
		t.Errorf("the second stream's end: %v", err)
	}
}

// TestInvites: an invite is made as the form says, shown once with its code, and revoked.
func TestInvites(t *testing.T) {
	s, f, b := open(t)
	b.enter(s)
	for _, wrong := range []url.Values{{"uses": {"0"}}, {"uses": {"x"}}, {"expires_in": {"1s"}}, {"expires_in": {"soon"}}, {"approve": {"yes"}}} {
		wrong.Set("token", b.token())
		if r, _ := b.post("/invites/make", wrong); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%v: %d", wrong, r.StatusCode)
		}
	}
	if f.noted() != "" {
		t.Fatalf("done: %s", f.noted())
	}
	r, text := b.post("/invites/make", url.Values{"token": {b.token()}, "uses": {"3"}, "expires_in": {"1d"}, "approve": {"yes"}, "intent": {"message"}})
	if r.StatusCode != http.StatusOK || !strings.Contains(text, "abc123-AAAA") || !strings.Contains(text, `<svg class="qr"`) {
		t.Errorf("made: %d %s", r.StatusCode, text)
	}
	if _, text := b.get("/invites"); !strings.Contains(text, `placeholder="`+core.FormatDuration(core.DefaultInviteLife)+`"`) {
		t.Error("the form does not show how long an invite lives that names no life")
	}
	if _, text := b.get("/invites"); strings.Contains(text, "abc123-AAAA") {
		t.Error("the long form is shown twice")
	}
	b.post("/invites/revoke", url.Values{"token": {b.token()}, "code": {"abc123"}})
	if f.noted() != "invite:3,86400000,true,1 revoke:abc123" {
		t.Errorf("done: %s", f.noted())
	}
}

// TestSettings: a setting is changed, and the page says what is still to be done.
func TestSettings(t *testing.T) {
	s, f, b := open(t)
	b.enter(s)
	if r, _ := b.post("/settings/set", url.Values{"token": {b.token()}, "key": {"email"}, "value": {"a@b.example"}}); r.StatusCode != http.StatusSeeOther || f.noted() != "set:email=a@b.example" {
		t.Fatalf("set: %d, done: %s", r.StatusCode, f.noted())
	}
	if _, text := b.get("/settings"); !strings.Contains(text, "It takes effect at the next start: &#34;ogp --home /x stop&#34;") {
		t.Errorf("the page says nothing of the restart:\n%s", text)
	}
	if _, text := b.get("/settings?q=nothing-is-called-so"); !strings.Contains(text, "No setting fits.") {
		t.Error("the search shows all")
	}
}

// TestFormsOutliveTheirSession: what was filled in while its session ended is there again for
// whoever comes in, and nothing was done with it; nobody else gets to see it.
func TestFormsOutliveTheirSession(t *testing.T) {
	s, f, b := open(t)
	now := time.Now()
	s.sessions.now = func() time.Time { return now }
	b.enter(s)
	form := url.Values{"token": {b.token()}, "text": {"a long <answer> + 100% \u0439"}, "failed": {"yes"}}
	now = now.Add(sessionLife + time.Second)
	r, text := b.post("/message/01M/reply", form)
	kept := regexp.MustCompile(`name="kept" value="([^"]+)"`).FindStringSubmatch(text)
	if r.StatusCode != http.StatusUnauthorized || kept == nil {
		t.Fatalf("without its session: %d %s", r.StatusCode, text)
	}
	in := url.Values{"kept": {html.UnescapeString(kept[1])}, "code": {"WRONG"}}
	if r, text := b.post("/open", in); r.StatusCode != http.StatusForbidden || !strings.Contains(text, kept[1]) {
		t.Errorf("with a wrong code: %d %s", r.StatusCode, text)
	}
	if r, text := b.get("/unsent"); r.StatusCode != http.StatusUnauthorized || strings.Contains(text, "answer") {
		t.Errorf("without a session: %d", r.StatusCode)
	}
	in.Set("code", must(t, s).Code)
	if r, _ := b.post("/open", in); r.Header.Get("Location") != "/unsent" {
		t.Fatalf("the code leads to %d %s", r.StatusCode, r.Header.Get("Location"))
	}
	_, text = b.get("/unsent")
	for _, want := range []string{">a long &lt;answer&gt; &#43; 100% \u0439</textarea>", `name="failed" value="yes"`, `action="/message/01M/reply"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if r, text = b.post("/message/01M/reply", form); r.StatusCode != http.StatusForbidden || !strings.Contains(text, "a long &lt;answer&gt;") { // another tab, which is open still
		t.Errorf("with the token of the old session: %d %s", r.StatusCode, text)
	}
	if f.noted() != "" {
		t.Errorf("done: %s", f.noted())
	}
	b.Jar, _ = cookiejar.New(nil)
	for name, form := range map[string]url.Values{
		"nothing is written":       {"id": {"01M"}, "text": {" "}},
		"more than anybody may":    {"text": {strings.Repeat("x", maxUnsent)}},
		"written in no characters": {"text": {"\xff"}},
	} {
		if r, text := b.post("/message/01M/reply", form); r.StatusCode != http.StatusUnauthorized || strings.Contains(text, `name="kept"`) {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
	}
	for _, kept := range []string{"%", "path=//evil.example&form=text%3Dx", "form=%25", "path=/x&form=text%3D%25ff"} {
		if a := unsentIn(kept); a != nil && a.Path != "/" {
			t.Errorf("%q: %+v", kept, a)
		}
	}
}

// TestFormsWithFilesOutliveTheirSession: of a form with files, the fields are there again, and the
// page says which files have to be chosen again.
func TestFormsWithFilesOutliveTheirSession(t *testing.T) {
	s, f, b := open(t)
	s.o.Caller = append(f.handlers(), f.policies(&uploads{slow: make(chan bool, 2)})...)
	now := time.Now()
	s.sessions.now = func() time.Time { return now }
	b.enter(s)
	old := b.token()
	now = now.Add(sessionLife + time.Second)
	const rules = "[[rules]]\nname = \"<long>\""
	form := []string{"with", "rules", "rules", rules, "module/gate.wasm", strings.Repeat("\x00", 3<<20), "manifest/", "", "window", "7d"}
	r, text := b.send("/policies/machine", old, form...)
	kept := regexp.MustCompile(`name="kept" value="([^"]+)"`).FindStringSubmatch(text)
	if r == nil || r.StatusCode != http.StatusUnauthorized || kept == nil || !strings.Contains(text, "Its files are not: choose them again then.") {
		t.Fatalf("without its session: %v %s", r, text)
	}
	if len(kept[1]) > 1000 {
		t.Errorf("%d bytes are kept", len(kept[1]))
	}
	in := url.Values{"kept": {html.UnescapeString(kept[1])}, "code": {must(t, s).Code}}
	if r, _ := b.post("/open", in); r.Header.Get("Location") != "/unsent" {
		t.Fatalf("the code leads to %d %s", r.StatusCode, r.Header.Get("Location"))
	}
	_, page := b.get("/unsent")
	again := func(page string) {
		t.Helper()
		for _, want := range []string{`action="/policies/machine" enctype="multipart/form-data"`, ">[[rules]]\nname = &#34;&lt;long&gt;&#34;</textarea>", `name="with" value="rules"`, `name="window" value="7d"`,
			`name="module"`, `name="manifest"`, "gate.wasm</bdi>"} {
			if !strings.Contains(page, want) {
				t.Errorf("no %s in\n%s", want, page)
			}
		}
		if strings.Contains(page, `name="cases"`) || strings.Count(page, "choose again") != 1 {
			t.Errorf("it asks for other files than were chosen:\n%s", page)
		}
	}
	again(page)
	if !strings.Contains(page, "choose its files again, as they are not kept") {
		t.Error("the page does not say that the files are not kept")
	}
	if r, page = b.send("/policies/machine", old, form...); r == nil || r.StatusCode != http.StatusForbidden { // another tab, which is open still
		t.Fatalf("with the token of the old session: %v", r)
	}
	again(page)
	if r, _ := b.send("/policies/machine", b.token(), "with", "now"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("after it: %d", r.StatusCode)
	}
	b.Jar, _ = cookiejar.New(nil)
	for name, form := range map[string][]string{
		"nothing is written or chosen":   {"with", "now", "rules", " ", "module/", ""},
		"more than anybody may":          {"rules", strings.Repeat("x", maxUnsent+1), "module/x.wasm", "x"},
		"as many names as anybody wants": slices.Repeat([]string{strings.Repeat("n", 1000) + "/f.wasm", "x"}, 100),
		"written in no characters":       {"rules", "\xff"},
	} {
		if r, text := b.send("/policies/machine", old, form...); r == nil || r.StatusCode != http.StatusUnauthorized || strings.Contains(text, `name="kept"`) {
			t.Errorf("%s: %v %s", name, r, text)
		}
	}
}

// TestLongFormsOutliveTheirSession: whatever characters a form has that is kept, it is there
// again, and the code that comes with it is taken.
func TestLongFormsOutliveTheirSession(t *testing.T) {
	s, _, b := open(t)
	long := maxUnsent - 1000
	for text, send := range map[string]func(text string) string{
		strings.Repeat("\u5b57", long/3): func(text string) string { // a form with files
			_, page := b.send("/policies/machine", "", "with", "rules", "rules", text, "module/gate.wasm", "x")
			return page
		},
		strings.Repeat("*", long): func(text string) string { // which browsers do not escape
			_, page := b.do("POST", "/message/01M/reply", nil, func(r *http.Request) {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Body = io.NopCloser(strings.NewReader("text=" + text))
			})
			return page
		},
	} {
		b.Jar, _ = cookiejar.New(nil)
		v := must(t, s)
		b.base = "http://" + v.Address
		kept := regexp.MustCompile(`name="kept" value="([^"]+)"`).FindStringSubmatch(send(text))
		if kept == nil {
			t.Errorf("a form with %.3s is not kept", text)
			continue
		}
		r, _ := b.post("/open", url.Values{"kept": {html.UnescapeString(kept[1])}, "code": {v.Code}})
		if r.Header.Get("Location") != "/unsent" {
			t.Errorf("with %.3s, a good code is answered %d", text, r.StatusCode)
			continue
		}
		if _, page := b.get("/unsent"); !strings.Contains(page, text) {
			t.Errorf("the text with %.3s is lost", text)
		}
	}
}

// TestFormsAreKept: what somebody has filled in is not lost with an error, and can be sent again.
func TestFormsAreKept(t *testing.T) {
	s, f, b := open(t)
	s.o.Caller = append(control.Local{api.InboxReply.Handle(func(context.Context, api.ReplyParams) (api.OutgoingView, error) {
		return api.OutgoingView{}, core.Refuse(core.Unavailable, "not now")
	})}, f.handlers()...)
	b.enter(s)
	for path, x := range map[string]struct {
		form url.Values
		want []string
	}{
		"/message/01M/reply": {url.Values{"text": {"a long <answer>"}, "failed": {"yes"}}, []string{">a long &lt;answer&gt;</textarea>", `name="failed" value="yes"`}},
		"/peers/ben/grants": {url.Values{"intent": {"message", "task"}, "rate": {"5/1m", "many"}, "off": {"on", "off"}, "state": {"old"}, "save": {"yes"}},
			[]string{`name="rate" value="5/1m"`, `name="rate" value="many"`, `value="off" selected`}},
		"/requests/X/approve": {url.Values{"compared": {"WRNG"}, "alias": {"cy"}, "intent": {"message"}}, []string{`name="compared" value="WRNG"`, `name="alias" value="cy"`, `name="intent" value="message"`}},
		"/invites/make":       {url.Values{"uses": {"many"}, "approve": {"yes"}, "intent": {"message"}}, []string{`name="uses" value="many"`, `name="approve" value="yes"`}},
	} {
		x.form.Set("token", b.token())
		_, page := b.do("POST", path, x.form, func(r *http.Request) { r.Header.Set("Referer", b.base+"/messages?box=in") })
		for _, want := range append(x.want, `action="`+path+`"`, `href="/messages?box=in"`) {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %s:\n%s", path, want, page)
			}
		}
		if strings.Contains(page, `name="state"`) || strings.Contains(page, `name="save"`) || strings.Count(page, x.form.Get("token")) > 0 {
			t.Errorf("%s: a form that was used up is offered again", path)
		}
	}
	if f.noted() != "" {
		t.Errorf("done: %s", f.noted())
	}
	// 60,000 characters of any script go through.
	if r, _ := b.post("/message/01M/reply", url.Values{"token": {b.token()}, "text": {strings.Repeat("語", 60000)}}); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a long answer: %d", r.StatusCode)
	}
}
