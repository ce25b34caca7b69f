package a2a

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// posting is the way to a client, who answers with a status; 0: not at all.
type posting struct {
	mu     sync.Mutex
	status int
	took   []string // what the client took, with its headers
	tries  int
}

func (p *posting) Permits(u *url.URL) error { return dial.New(dial.Options{}).Permits(u) }

func (p *posting) PostTo(_ context.Context, to string, header http.Header, body []byte) (int, http.Header, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	switch p.status {
	case 0:
		return 0, nil, errors.New("nobody listens")
	case 200:
		p.took = append(p.took, fmt.Sprint(to, " ", header.Get("Authorization"), " ", header.Get("A2A-Notification-Token"), " ", string(body)))
	}
	return p.status, http.Header{}, nil
}

func (p *posting) answer(status int) { p.mu.Lock(); defer p.mu.Unlock(); p.status = status }

// taken are what the client took since it was last asked.
func (p *posting) taken() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.took
	p.took = nil
	return out
}

// live is a role with one task, whose state changes.
type oneTask struct {
	role
	mu      sync.Mutex
	sent    api.AgentSent
	gone    bool
	changed map[int]func()
	next    int
}

func (r *oneTask) Result(_ context.Context, p api.AgentResultParams) (api.AgentSent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone || p.ID != r.sent.ID {
		return api.AgentSent{}, core.Refuse(core.NotFound, "none")
	}
	return r.sent, nil
}

func (r *oneTask) Watch(_ context.Context, _ string, changed func()) (func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.next
	r.next++
	r.changed[n] = changed
	return func() { r.mu.Lock(); defer r.mu.Unlock(); delete(r.changed, n) }, nil
}

func (r *oneTask) set(f func()) {
	r.mu.Lock()
	f()
	wake := make([]func(), 0, len(r.changed))
	for _, c := range r.changed {
		wake = append(wake, c)
	}
	r.mu.Unlock()
	for _, c := range wake {
		c()
	}
}

// TestG4Push: a client is told of each change of its task, with what it wanted shown, again
// after a failure and after a restart, until the task is done or it wants no more.
// docs/threat-model.md#g4
func TestG4Push(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, client := memory.New(), &posting{status: 200}
		defer store.Close()
		r := &oneTask{sent: api.AgentSent{ID: "T1", Kind: "message", Fingerprint: "BBBB", State: "waiting"}, changed: map[int]func(){}}
		start := func() (*handler, func()) {
			p := newPushes(Options{Role: r, Store: store, Posting: client, Logger: slog.New(slog.DiscardHandler)})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- p.run(ctx) }()
			return &handler{role: r, pushes: p, peer: api.AgentPeer{Fingerprint: "BBBB"}, log: p.log}, func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		h, stop := start()
		c, err := h.CreateTaskPushConfig(t.Context(), &a2a.PushConfig{TaskID: "T1", URL: "https://client.example/a2a?x=1", Token: "tok", Auth: &a2a.PushAuthInfo{Scheme: "Bearer", Credentials: "cred"}})
		if err != nil || c.ID == "" {
			t.Fatalf("CreateTaskPushConfig = %+v, %v", c, err)
		}
		settle := func(d time.Duration) []string { t.Helper(); time.Sleep(d); synctest.Wait(); return client.taken() }
		if got := settle(time.Second); len(got) > 0 {
			t.Errorf("the client is told what it has just been shown: %q", got)
		}
		r.set(func() { r.sent.State = "sent" })
		if got := settle(time.Second); len(got) != 1 || !strings.Contains(got[0], "https://client.example/a2a?x=1 Bearer cred tok {\"task\":") || !strings.Contains(got[0], "TASK_STATE_WORKING") {
			t.Errorf("told %q, want the task, working, with the token and the credentials", got)
		}
		got, err := h.GetTaskPushConfig(t.Context(), &a2a.GetTaskPushConfigRequest{TaskID: "T1", ID: c.ID})
		if err != nil || got.URL != c.URL || got.Auth == nil || got.Auth.Credentials != "cred" {
			t.Errorf("GetTaskPushConfig = %+v, %v", got, err)
		}
		// The client is away, and so are we; then both are back.
		client.answer(0)
		r.set(func() { r.sent.Answered, r.sent.Answer = true, "<<<yes>>>" })
		settle(time.Minute)
		client.mu.Lock()
		if client.tries < 4 || client.tries > 10 {
			t.Errorf("%d tries within a minute, want some with growing pauses", client.tries)
		}
		client.mu.Unlock()
		stop()
		client.answer(200)
		h, stop = start()
		if got := settle(time.Second); len(got) != 1 || !strings.Contains(got[0], "TASK_STATE_COMPLETED") || !strings.Contains(got[0], "<<<yes>>>") {
			t.Errorf("after a restart told %q, want the answer", got)
		}
		if l, err := h.ListTaskPushConfigs(t.Context(), &a2a.ListTaskPushConfigRequest{TaskID: "T1"}); err != nil || len(l.Configs) != 0 {
			t.Errorf("ListTaskPushConfigs = %+v, %v; want none, as the task is done", l, err)
		}
		// One who asks when it is done is told once.
		if _, err := h.CreateTaskPushConfig(t.Context(), &a2a.PushConfig{TaskID: "T1", ID: "late", URL: "https://client.example/"}); err != nil {
			t.Fatal(err)
		}
		if got := settle(time.Second); len(got) != 1 {
			t.Errorf("told %q, want the task that is done", got)
		}
		// A task may have a few, and who wants no more is told no more.
		r.set(func() { r.sent.Answered, r.sent.State = false, "waiting" })
		for i := range maxTaskPushes + 1 {
			_, err := h.CreateTaskPushConfig(t.Context(), &a2a.PushConfig{TaskID: "T1", ID: fmt.Sprint(i), URL: "https://client.example/"})
			if (err == nil) != (i < maxTaskPushes) {
				t.Errorf("configuration %d: %v, want %d at most", i, err, maxTaskPushes)
			}
		}
		for i := 1; i < maxTaskPushes; i++ {
			for range 2 { // a second time is no error
				if err := h.DeleteTaskPushConfig(t.Context(), &a2a.DeleteTaskPushConfigRequest{TaskID: "T1", ID: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		}
		r.set(func() { r.sent.State = "sent" })
		if got := settle(time.Second); len(got) != 1 {
			t.Errorf("told %q, want the one that is left", got)
		}
		// A client that is gone for good, and a peer that is none any more, end it.
		client.answer(http.StatusGone)
		r.set(func() { r.sent.State = "refused" })
		settle(time.Second)
		client.answer(200)
		if _, err := h.CreateTaskPushConfig(t.Context(), &a2a.PushConfig{TaskID: "T1", ID: "x", URL: "https://client.example/"}); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		r.set(func() { r.sent.State = "waiting" })
		if _, err := h.CreateTaskPushConfig(t.Context(), &a2a.PushConfig{TaskID: "T1", ID: "y", URL: "https://client.example/"}); err != nil {
			t.Fatal(err)
		}
		r.set(func() { r.gone = true })
		if got := settle(time.Second); len(got) > 0 {
			t.Errorf("told %q of a task that there is not", got)
		}
		if keys, err := h.pushes.list(t.Context(), ""); err != nil || len(keys) != 0 || len(r.changed) != 0 || len(h.pushes.live) != 0 {
			t.Errorf("%v, %v are left, %d watch, %d live", keys, err, len(r.changed), len(h.pushes.live))
		}
		stop()
	})
}

// TestG4PushTo: what a client asks for is judged before it is kept.
// docs/threat-model.md#g4
func TestG4PushTo(t *testing.T) {
	p := newPushes(Options{Posting: &posting{}})
	auth := func(scheme, cred string) *a2a.PushAuthInfo {
		return &a2a.PushAuthInfo{Scheme: scheme, Credentials: cred}
	}
	for _, c := range []struct {
		name string
		c    a2a.PushConfig
		want string // empty: it is taken
	}{
		{"https", a2a.PushConfig{URL: "https://client.example:8443/x"}, ""},
		{"https with all", a2a.PushConfig{URL: "https://client.example/", ID: "ä/..", Token: "t t", Auth: auth("Basic", "dTpw")}, ""},
		{"no URL", a2a.PushConfig{}, "url is where"},
		{"a relative URL", a2a.PushConfig{URL: "/x"}, "scheme"},
		{"another scheme", a2a.PushConfig{URL: "file:///etc/passwd"}, "scheme"},
		{"in the clear", a2a.PushConfig{URL: "http://client.example/"}, "https://"},
		{"this machine", a2a.PushConfig{URL: "http://127.0.0.1:9000/"}, "a2a.allow_private"},
		{"this machine by name", a2a.PushConfig{URL: "http://localhost:9000/"}, "a2a.allow_private"},
		{"this machine in IPv6", a2a.PushConfig{URL: "http://[::1]:9000/"}, "a2a.allow_private"},
		{"a private network", a2a.PushConfig{URL: "http://10.0.0.1/"}, "a2a.allow_private"},
		{"where clouds give out credentials", a2a.PushConfig{URL: "https://169.254.169.254/"}, "a2a.allow_private"},
		{"IPv4 as IPv6", a2a.PushConfig{URL: "https://[::ffff:127.0.0.1]/"}, "IPv6"},
		{"a user name", a2a.PushConfig{URL: "https://u:p@client.example/"}, "user name"},
		{"a long URL", a2a.PushConfig{URL: "https://client.example/" + strings.Repeat("x", maxPushURL)}, "bytes"},
		{"a long id", a2a.PushConfig{URL: "https://client.example/", ID: strings.Repeat("x", maxPushID+1)}, "bytes"},
		{"a header in the token", a2a.PushConfig{URL: "https://client.example/", Token: "x\r\nHost: y"}, "visible"},
		{"a header in the credentials", a2a.PushConfig{URL: "https://client.example/", Auth: auth("Bearer", "x\ny")}, "visible"},
		{"a header in the scheme", a2a.PushConfig{URL: "https://client.example/", Auth: auth("Bearer x", "y")}, "scheme"},
		{"credentials of no scheme", a2a.PushConfig{URL: "https://client.example/", Auth: auth("", "y")}, "scheme"},
	} {
		_, err := p.check(&c.c)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
