package a2a

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/queue"
)

// Bounds on push notifications.
const (
	maxPushes     = 1000 // in all
	maxTaskPushes = 8    // of one task
	maxPushID     = 128  // bytes
	maxPushURL    = 2048 // bytes
	maxPushSecret = 4096 // bytes
	pushesAtOnce  = 8
	// pushLook is how often a task is looked at that nothing wakes: some changes come with
	// time alone.
	pushLook = 10 * time.Minute
)

// pushTimes are how a notification that is not taken is tried again.
var pushTimes = queue.Times{First: 2 * time.Second, Most: 10 * time.Minute, GiveUp: 24 * time.Hour}

// Posting is the way to clients: the guard of the gateway judges each address.
type Posting interface {
	// Permits judges what can be judged of a URL before it is dialled.
	Permits(u *url.URL) error
	// PostTo sends a body. A status is no error.
	PostTo(ctx context.Context, to string, header http.Header, body []byte) (status int, answer http.Header, err error)
}

// PushStore is what the notifications need of the store.
type PushStore interface {
	Commit(ctx context.Context, c *core.Change) error
	KV(ctx context.Context, plugin, key string) ([]byte, error)
	KVList(ctx context.Context, plugin, prefix string) (map[string]int, error)
}

// pushes tells clients of their tasks. What they asked for is in the store until the task is
// done and they have heard of it.
type pushes struct {
	role   Role
	store  PushStore
	posts  Posting
	log    *slog.Logger
	engine *queue.Engine[pushKey]

	mu   sync.Mutex // guards live
	live map[pushKey]*live
}

// live is what a place has beside its record.
type live struct {
	stop  func() // watching its task
	tries int    // that failed in a row, since the start
}

// pushKey names one place to tell: a client's id for it, within a task.
type pushKey struct{ task, id string }

// kept is where our records are in the store; no plugin can have the name.
const (
	kept       = "_a2a"
	pushPrefix = "push/"
)

func (k pushKey) String() string { return pushPrefix + k.task + "/" + k.id }

// push is the record of one place to tell.
type push struct {
	Peer        string        `json:"peer"` // whose task it is, by fingerprint
	URL         string        `json:"url"`
	Token       string        `json:"token,omitempty"`
	Scheme      string        `json:"scheme,omitempty"`
	Credentials string        `json:"credentials,omitempty"`
	Known       a2a.TaskState `json:"known,omitempty"`  // the state that the client knows
	Failing     time.Time     `json:"failing,omitzero"` // since when it does not take what it is told
}

func newPushes(o Options) *pushes {
	p := &pushes{role: o.Role, store: o.Store, posts: o.Posting, log: o.Logger, live: map[pushKey]*live{}}
	p.engine = queue.New(pushesAtOnce, p.work)
	return p
}

// run tells clients until ctx is done, first those who were to be told before a start.
func (p *pushes) run(ctx context.Context) error {
	keys, err := p.list(ctx, "")
	if err != nil {
		return fmt.Errorf("a2a: push notifications not readable: %w", err)
	}
	for _, k := range keys {
		p.watch(ctx, k)
	}
	p.engine.Run(ctx)
	p.mu.Lock()
	all := p.live
	p.live = map[pushKey]*live{}
	p.mu.Unlock()
	for _, l := range all {
		l.stop()
	}
	return nil
}

// watch has a place told when its task changes, and looked at now.
func (p *pushes) watch(ctx context.Context, k pushKey) {
	stop, err := p.role.Watch(ctx, k.task, func() { p.engine.Wake(k) })
	if err == nil {
		p.set(k, &live{stop: stop})
	}
	p.engine.Wake(k) // which finds out what is wrong
}

// set replaces what a place has beside its record; nil: nothing more.
func (p *pushes) set(k pushKey, l *live) {
	p.mu.Lock()
	old := p.live[k]
	if delete(p.live, k); l != nil {
		p.live[k] = l
	}
	p.mu.Unlock()
	if old != nil {
		old.stop()
	}
}

// failed counts a try that failed, or with zero that one has not, and returns how many have
// in a row.
func (p *pushes) failed(k pushKey, n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.live[k]
	if l == nil {
		return 1
	}
	if l.tries += n; n == 0 {
		l.tries = 0
	}
	return l.tries
}

// list finds the places of a task, or all.
func (p *pushes) list(ctx context.Context, task string) ([]pushKey, error) {
	prefix := pushPrefix
	if task != "" {
		prefix += task + "/"
	}
	sizes, err := p.store.KVList(ctx, kept, prefix)
	if err != nil {
		return nil, err
	}
	out := make([]pushKey, 0, len(sizes))
	for key := range sizes {
		if task, id, ok := strings.Cut(strings.TrimPrefix(key, pushPrefix), "/"); ok {
			out = append(out, pushKey{task, id})
		}
	}
	slices.SortFunc(out, func(a, b pushKey) int { return cmp.Compare(a.id, b.id) })
	return out, nil
}

func (p *pushes) get(ctx context.Context, k pushKey) (*push, error) {
	text, err := p.store.KV(ctx, kept, k.String())
	if err != nil {
		return nil, err
	}
	v := &push{}
	return v, json.Unmarshal(text, v)
}

func (p *pushes) put(ctx context.Context, k pushKey, v *push) error {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	return p.store.Commit(ctx, &core.Change{KV: []core.KVPut{{Plugin: kept, Key: k.String(), Value: text}}})
}

// forget drops a place.
func (p *pushes) forget(ctx context.Context, k pushKey) error {
	p.set(k, nil)
	return p.store.Commit(ctx, &core.Change{KV: []core.KVPut{{Plugin: kept, Key: k.String()}}})
}

// check judges what a client asks for, and gives its record.
func (p *pushes) check(c *a2a.PushConfig) (*push, error) {
	bad := func(format string, args ...any) error {
		return a2a.NewError(a2a.ErrInvalidParams, fmt.Sprintf(format, args...))
	}
	v := &push{URL: c.URL, Token: c.Token}
	if c.Auth != nil {
		v.Scheme, v.Credentials = c.Auth.Scheme, c.Auth.Credentials
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || c.URL == "" || len(c.URL) > maxPushURL:
		return nil, bad("url is where notifications are posted to, of at most %d bytes", maxPushURL)
	case len(c.ID) > maxPushID || !utf8.ValidString(c.ID):
		return nil, bad("id has at most %d bytes", maxPushID)
	case !visible(v.Token) || !visible(v.Credentials) || len(v.Token) > maxPushSecret || len(v.Credentials) > maxPushSecret:
		return nil, bad("token and credentials are visible ASCII characters, at most %d", maxPushSecret)
	case strings.Trim(v.Scheme, schemeChars) != "" || len(v.Scheme) > 32:
		return nil, bad("scheme is the name of a scheme of HTTP authentication, such as Bearer")
	case v.Credentials != "" && v.Scheme == "":
		return nil, bad("credentials come with a scheme, such as Bearer")
	case u.Scheme == "http" && !core.IsThisMachine(u.Hostname()) && !isPrivate(u.Hostname()):
		return nil, bad("url begins with https://: what a peer has said is in the notification")
	}
	if err := p.posts.Permits(u); err != nil {
		return nil, bad("url: %v; the human opens a range with a2a.allow_private", err)
	}
	return v, nil
}

const schemeChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"

// visible reports whether a text can stand in a header.
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// room returns an error where a task, or all together, have as many places as they may.
func (p *pushes) room(ctx context.Context, task, id string) error {
	all, err := p.list(ctx, "")
	if err != nil {
		return err
	}
	of := 0
	for _, k := range all {
		if k == (pushKey{task, id}) {
			return nil // it takes another's place
		}
		if k.task == task {
			of++
		}
	}
	switch {
	case of >= maxTaskPushes:
		return a2a.NewError(a2a.ErrInvalidParams, fmt.Sprintf("a task has at most %d push notification configurations", maxTaskPushes))
	case len(all) >= maxPushes:
		return a2a.NewError(a2a.ErrServerError, fmt.Sprintf("there are %d push notification configurations already: wait until some of their tasks are done, or delete some", maxPushes))
	}
	return nil
}

// add keeps a place, and watches its task. The client knows the task as it is shown, but
// is told of one that is done: it may have asked too late to be told otherwise.
func (p *pushes) add(ctx context.Context, sent *api.AgentSent, id string, v *push) (pushKey, error) {
	k := pushKey{sent.ID, cmp.Or(id, strings.ToLower(ulid.Make().String()))}
	if err := p.room(ctx, k.task, k.id); err != nil {
		return k, err
	}
	v.Peer = sent.Fingerprint
	if state := stateOf(sent); !state.Terminal() {
		v.Known = state
	}
	release, err := p.engine.Lease(ctx, k) // one that is replaced is told of no more
	if err != nil {
		return k, err
	}
	err = p.put(ctx, k, v)
	release()
	if err != nil {
		return k, err
	}
	p.watch(context.WithoutCancel(ctx), k)
	return k, nil
}

// drop ends a place. When it returns, nobody is told there any more.
func (p *pushes) drop(ctx context.Context, k pushKey) error {
	release, err := p.engine.Lease(ctx, k)
	if err != nil {
		return err
	}
	defer release()
	return p.forget(ctx, k)
}

// work tells one place of its task, if that stands otherwise than the client knows, and
// returns when to look again.
func (p *pushes) work(ctx context.Context, k pushKey) time.Duration {
	again, err := p.tell(ctx, k)
	if err != nil && ctx.Err() == nil {
		p.log.Error("a2a: push notification", "task", k.task, "err", err)
		return cmp.Or(again, pushTimes.Most)
	}
	return again
}

func (p *pushes) tell(ctx context.Context, k pushKey) (again time.Duration, err error) {
	v, err := p.get(ctx, k)
	if errors.Is(err, core.NotFound) {
		return 0, nil // dropped
	}
	if err != nil {
		return 0, err
	}
	sent, err := p.role.Result(ctx, api.AgentResultParams{ID: k.task})
	if errors.Is(err, core.NotFound) || err == nil && sent.Fingerprint != v.Peer {
		return 0, p.forget(ctx, k) // the task is on record no more, or the peer is none
	}
	if err != nil {
		return 0, err
	}
	t := task(&sent, true)
	if t.Status.State == v.Known {
		return pushLook, nil
	}
	over, asked, failed := p.post(ctx, k, v, t)
	if ctx.Err() != nil {
		return 0, nil // it is told after the next start
	}
	if failed == nil {
		p.failed(k, 0)
		if t.Status.State.Terminal() {
			return 0, p.forget(ctx, k)
		}
		v.Known, v.Failing = t.Status.State, time.Time{}
		return time.Nanosecond, p.put(ctx, k, v) // it may have changed meanwhile
	}
	now := time.Now().UTC()
	if v.Failing.IsZero() {
		v.Failing = now
		if err := p.put(ctx, k, v); err != nil {
			return 0, err
		}
	}
	p.log.Info("a2a: push notification not taken", "task", k.task, "origin", origin(v.URL), "err", failed)
	if over || pushTimes.Over(v.Failing, now) {
		p.log.Warn("a2a: push notifications of a task given up", "task", k.task, "origin", origin(v.URL), "err", failed)
		return 0, p.forget(ctx, k)
	}
	return min(pushTimes.Wait(p.failed(k, 1), asked), time.Hour), nil
}

// post tells a client once. over says that it will never take it, and asked how long it
// wants to be left alone.
func (p *pushes) post(ctx context.Context, k pushKey, v *push, t *a2a.Task) (over bool, asked time.Duration, failed error) {
	body, err := json.Marshal(a2a.StreamResponse{Event: t})
	if err != nil {
		return true, 0, err
	}
	header := http.Header{"Content-Type": {"application/a2a+json"}}
	if v.Credentials != "" {
		header.Set("Authorization", v.Scheme+" "+v.Credentials)
	}
	if v.Token != "" { // the protocol names no header: its SDKs read the one or the other
		header.Set("X-A2A-Notification-Token", v.Token)
		header.Set("A2A-Notification-Token", v.Token)
	}
	status, answer, err := p.posts.PostTo(ctx, v.URL, header, body)
	switch {
	case err != nil:
		return false, 0, err
	case status >= 200 && status < 300:
		return false, 0, nil
	}
	if s, err := strconv.Atoi(answer.Get("Retry-After")); err == nil && s > 0 {
		asked = time.Duration(min(s, 3600)) * time.Second
	}
	return status == http.StatusGone, asked, fmt.Errorf("the client answered %d", status)
}

// origin is what of a URL may be logged.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return core.Origin(u)
}

// isPrivate reports whether a host is an address of a network behind one's own door.
func isPrivate(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsPrivate()
}

// The calls about push notifications.

// asPush shows a place as the protocol has it.
func asPush(k pushKey, v *push) *a2a.PushConfig {
	c := &a2a.PushConfig{TaskID: a2a.TaskID(k.task), ID: k.id, URL: v.URL, Token: v.Token}
	if v.Scheme != "" {
		c.Auth = &a2a.PushAuthInfo{Scheme: v.Scheme, Credentials: v.Credentials}
	}
	return c
}

// GetTaskPushConfig shows one place that is told of a task.
func (h *handler) GetTaskPushConfig(ctx context.Context, req *a2a.GetTaskPushConfigRequest) (*a2a.PushConfig, error) {
	sent, err := h.get(ctx, req.TaskID)
	if err != nil {
		return nil, err
	}
	k := pushKey{sent.ID, req.ID}
	v, err := h.pushes.get(ctx, k)
	if errors.Is(err, core.NotFound) {
		return nil, a2a.NewError(a2a.ErrTaskNotFound, "the task has no such push notification configuration; one goes when its task is done")
	}
	if err != nil {
		return nil, h.fault(err)
	}
	return asPush(k, v), nil
}

// ListTaskPushConfigs lists the places that are told of a task, by id. There are few: they
// are one page.
func (h *handler) ListTaskPushConfigs(ctx context.Context, req *a2a.ListTaskPushConfigRequest) (*a2a.ListTaskPushConfigResponse, error) {
	sent, err := h.get(ctx, req.TaskID)
	if err != nil {
		return nil, err
	}
	keys, err := h.pushes.list(ctx, sent.ID)
	if err != nil {
		return nil, h.fault(err)
	}
	out := &a2a.ListTaskPushConfigResponse{Configs: []*a2a.PushConfig{}}
	for _, k := range keys {
		v, err := h.pushes.get(ctx, k)
		if errors.Is(err, core.NotFound) {
			continue
		}
		if err != nil {
			return nil, h.fault(err)
		}
		out.Configs = append(out.Configs, asPush(k, v))
	}
	return out, nil
}

// CreateTaskPushConfig has a client told of a task's changes from now on. One that is done
// is told of once.
func (h *handler) CreateTaskPushConfig(ctx context.Context, req *a2a.PushConfig) (*a2a.PushConfig, error) {
	sent, err := h.get(ctx, req.TaskID)
	if err != nil {
		return nil, err
	}
	v, err := h.pushes.check(req)
	if err != nil {
		return nil, err
	}
	k, err := h.pushes.add(ctx, &sent, req.ID, v)
	if err != nil {
		return nil, h.fault(err)
	}
	return asPush(k, v), nil
}

// DeleteTaskPushConfig ends a place; one that is not there is no error.
func (h *handler) DeleteTaskPushConfig(ctx context.Context, req *a2a.DeleteTaskPushConfigRequest) error {
	sent, err := h.get(ctx, req.TaskID)
	if err != nil {
		return err
	}
	if err := h.pushes.drop(ctx, pushKey{sent.ID, req.ID}); err != nil {
		return h.fault(err)
	}
	return nil
}
