package a2a

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gate"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// role is a role with two peers and one message to each.
type role struct{ sent, cancelled []string }

func (r *role) Peers(context.Context) ([]api.AgentPeer, error) {
	return []api.AgentPeer{{Name: "bob", Fingerprint: "BBBB", WeMay: []string{"message", "agent-comms on general, plans"}}, {Name: "eve", Fingerprint: "EEEE"}}, nil
}

func (r *role) Send(_ context.Context, p api.AgentSendParams) (api.AgentSent, error) {
	r.sent = append(r.sent, p.Peer+" "+p.Intent+" "+p.Text+string(p.Data))
	return api.AgentSent{ID: "T1", Kind: "message", Fingerprint: p.Peer, Conversation: p.Conversation, State: "sent"}, nil
}

func (r *role) Result(_ context.Context, p api.AgentResultParams) (api.AgentSent, error) {
	v := api.AgentSent{ID: p.ID, Kind: "message", Fingerprint: "BBBB", State: "waiting"}
	switch p.ID {
	case "BOBS":
	case "DONE":
		v.State, v.Answered, v.Answer = "sent", true, "<<<yes>>>"
	case "EVES":
		v.Fingerprint = "EEEE"
	case "REPLY":
		v.Kind = "reply"
	default:
		return v, core.Refuse(core.NotFound, "none")
	}
	return v, nil
}

func (r *role) Follow(ctx context.Context, last api.AgentSent, _ time.Duration) (api.AgentSent, error) {
	return r.Result(ctx, api.AgentResultParams{ID: last.ID})
}

func (r *role) Watch(context.Context, string, func()) (func(), error) { return func() {}, nil }

func (r *role) Tasks(context.Context, string, string) ([]api.AgentSent, error) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 28, 12, minute, 0, 0, time.UTC) }
	return []api.AgentSent{{ID: "03", State: "sent", Changed: at(3)}, {ID: "02", State: "refused", Changed: at(2)},
		{ID: "01", State: "sent", Answered: true, Failed: true, Changed: at(4)}}, nil // the oldest was answered last
}

func (r *role) Cancel(_ context.Context, id string) (api.AgentSent, error) {
	r.cancelled = append(r.cancelled, id)
	return api.AgentSent{ID: id, State: "cancelled"}, nil
}

// TestG4Door: what comes without the token, under a foreign name, to another peer's task or
// in broken JSON is refused in the protocol's words, and sends nothing.
// docs/threat-model.md#g4
func TestG4Door(t *testing.T) {
	r := &role{}
	s := New(Options{Role: r, Store: memory.New(), Posting: &posting{}, Token: func() (string, error) { return "the token", nil }, Version: "1", Logger: slog.New(slog.DiscardHandler),
		OwnHost: func(host string) bool { return host == "127.0.0.1:1" }})
	call := func(method, params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`
	}
	send := call("SendMessage", `{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"hello"}]}}`)
	const card = "/a2a/bob/.well-known/agent-card.json"
	for _, c := range []struct {
		name, host, auth, path, body string
		status                       int
		want                         string
		sends                        int
	}{
		{"no token", "127.0.0.1:1", "", "/a2a/bob", send, 401, "ogp a2a token", 0},
		{"a wrong token", "127.0.0.1:1", "Bearer the toke", "/a2a/bob", send, 401, "", 0},
		{"another scheme", "127.0.0.1:1", "Basic the token", "/a2a/bob", send, 401, "", 0},
		{"no token for a card", "127.0.0.1:1", "", card, "", 401, "", 0},
		{"a foreign host", "evil.example", "Bearer the token", "/a2a/bob", send, 421, "", 0},
		{"an unknown peer", "127.0.0.1:1", "Bearer the token", "/a2a/mallory", send, 404, "no approved peer", 0},
		{"a card", "127.0.0.1:1", "Bearer the token", card, "", 200, `"id":"agent-comms"`, 0},
		{"a message", "127.0.0.1:1", "Bearer the token", "/a2a/bob", send, 200, "TASK_STATE_WORKING", 1},
		{"a skill", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("SendMessage", `{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"data":{"a":1}}],"metadata":{"skillId":"message"}}}`), 200, "TASK_STATE_WORKING", 1},
		{"a file", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("SendMessage", `{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"url":"http://x"}]}}`), 200, "-32005", 0},
		{"no message", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("SendMessage", `{}`), 200, "-32602", 0},
		{"null", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("SendMessage", `null`), 200, "-32602", 0},
		{"a null part", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("SendMessage", `{"message":{"parts":[null]}}`), 200, `"error"`, 0},
		{"a further message of a task", "127.0.0.1:1", "Bearer the token", "/a2a/bob", strings.Replace(send, `"role"`, `"taskId":"BOBS","role"`, 1), 200, "-32004", 0},
		{"push to the cloud's own", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("CreateTaskPushNotificationConfig", `{"taskId":"BOBS","url":"https://169.254.169.254/"}`), 200, "-32602", 0},
		{"push of another peer's task", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("CreateTaskPushNotificationConfig", `{"taskId":"EVES","url":"https://client.example/"}`), 200, "-32001", 0},
		{"a message with a bad push", "127.0.0.1:1", "Bearer the token", "/a2a/bob", strings.Replace(send, `"message":`, `"configuration":{"taskPushNotificationConfig":{"url":"http://client.example/"}},"message":`, 1), 200, "https://", 0},
		{"a task", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("GetTask", `{"id":"BOBS"}`), 200, "TASK_STATE_SUBMITTED", 0},
		{"a task that is done", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("GetTask", `{"id":"DONE"}`), 200, "TASK_STATE_COMPLETED", 0},
		{"a task of another peer", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("GetTask", `{"id":"EVES"}`), 200, "-32001", 0},
		{"cancelling it", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("CancelTask", `{"id":"EVES"}`), 200, "-32001", 0},
		{"following it", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("SubscribeToTask", `{"id":"EVES"}`), 200, "-32001", 0},
		{"an answer of ours", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("GetTask", `{"id":"REPLY"}`), 200, "-32001", 0},
		{"cancelling one that is done", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("CancelTask", `{"id":"DONE"}`), 200, "-32002", 0},
		{"the last changed first", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("ListTasks", `{"pageSize":2}`), 200, `"nextPageToken":"20261128120300.000000000-03"`, 0},
		{"a page", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("ListTasks", `{"pageSize":2,"pageToken":"20261128120300.000000000-03"}`), 200, `"tasks":[{"id":"02"`, 0},
		{"the last page", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("ListTasks", `{"pageSize":2,"pageToken":"20261128120300.000000000-03"}`), 200, `"pageSize":1,"nextPageToken":""`, 0},
		{"by time", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("ListTasks", `{"statusTimestampAfter":"2026-11-28T12:03:00Z"}`), 200, `"totalSize":2`, 0},
		{"by state", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("ListTasks", `{"status":"TASK_STATE_FAILED"}`), 200, `"totalSize":1`, 0},
		{"a page too large", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("ListTasks", `{"pageSize":101}`), 200, "-32602", 0},
		{"an unknown method", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("Approve", `{}`), 200, "-32601", 0},
		{"no JSON", "127.0.0.1:1", "Bearer the token", "/a2a/bob", "{", 200, "-32700", 0},
		{"a name twice", "127.0.0.1:1", "Bearer the token", "/a2a/bob", strings.Replace(send, `"id":1`, `"id":1,"id":2`, 1), 200, "-32700", 0},
		{"deep JSON", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("SendMessage", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)), 200, "-32700", 0},
		{"a huge body", "127.0.0.1:1", "Bearer the token", "/a2a/bob", call("SendMessage", `"`+strings.Repeat("x", maxBody)+`"`), 413, "256 KiB", 0},
	} {
		r.sent, r.cancelled = nil, nil
		method := http.MethodPost
		if c.body == "" {
			method = http.MethodGet
		}
		req := httptest.NewRequest(method, c.path, strings.NewReader(c.body))
		req.Host = c.host
		if c.auth != "" {
			req.Header.Set("Authorization", c.auth)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		body, _ := io.ReadAll(w.Body)
		if w.Code != c.status || !strings.Contains(string(body), c.want) || len(r.sent) != c.sends || len(r.cancelled) > 0 {
			t.Errorf("%s: %d %s, %d sent, %d cancelled; want %d with %q, %d sent", c.name, w.Code, body, len(r.sent), len(r.cancelled), c.status, c.want, c.sends)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: pages of other origins may read", c.name)
		}
	}
}

// TestG4SlowReader: a client that does not read what it asked for is let go.
// docs/threat-model.md#g4
func TestG4SlowReader(t *testing.T) {
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		slow := &timely{w, 50 * time.Millisecond}
		for range 1000 {
			if _, err := slow.Write(make([]byte, 64<<10)); err != nil {
				ended <- err
				return
			}
			slow.Flush()
		}
		ended <- nil
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("64 MB were written to a client that reads nothing")
		}
	case <-time.After(60 * time.Second):
		t.Error("it is still written to a client that reads nothing")
	}
}

// TestD1A2ADoor: connections that show no token keep out nobody who does, whether they say
// nothing, begin a request, or have had their 401.
// docs/threat-model.md#d1
func TestD1A2ADoor(t *testing.T) {
	s := New(Options{Role: &role{}, Store: memory.New(), Posting: &posting{}, Token: func() (string, error) { return "t", nil }, Version: "1", Logger: slog.New(slog.DiscardHandler),
		OwnHost: func(string) bool { return true }})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	for i := range 2 * gate.Local() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, []string{"", "POST /a2a/bob HTTP/1.1\r\nHost: a\r\n", "POST /a2a/bob HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"}[i%3])
	}
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	req, _ := http.NewRequest(http.MethodGet, "http://"+ln.Addr().String()+"/a2a/bob/.well-known/agent-card.json", nil)
	req.Header.Set("Authorization", "Bearer t")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("a client with the token: %v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a client with the token gets %d", resp.StatusCode)
	}
}
