package console_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
)

// size is how much a gateway has kept: a fifth of its peers ask; a five hundredth of the messages
// that came is held; of what we sent a tenth waits, and some was refused. Every hundredth message
// is of one peer.
type size struct{ peers, came, sent int }

var million = size{10_000, 1_000_000, 112_000}

// town is who and what there is in a gateway of a size.
type town struct {
	came, sent string // ids in the middle
	asks       string // the fingerprint of one that asks
	knows      string // our name for the one that says most
}

func fill(b testing.TB, dir string, of size) (v town) {
	store, err := sqlite.Open(b.Context(), dir)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	commit := func(c *core.Change) {
		if err := store.Commit(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	began := time.Now().Add(-time.Duration(of.came) * 80 * time.Millisecond)
	c, key := &core.Change{}, func(n int) (k core.PublicKey) {
		binary.BigEndian.PutUint32(k[:], uint32(n+1))
		return k
	}
	for n := range of.peers {
		p := &core.Peer{Key: key(n), Alias: fmt.Sprintf("peer-%05d", n), Trust: core.Approved, URL: fmt.Sprintf("http://127.0.0.1:1/%d", n), RequestedAt: began.Add(time.Duration(n) * time.Second), Revision: 1,
			Granted: &core.Bundle{Scopes: []core.Grant{{Intent: "message", Enabled: true}}},
			Names:   core.Names{DisplayName: fmt.Sprint("Gateway ", n), AgentName: "agent", Email: fmt.Sprintf("ops@%d.example", n)}}
		if n%5 == 0 {
			p.Alias, p.Trust, p.Granted = "", core.Pending, nil
			v.asks = p.Key.Fingerprint()
		}
		c.Peers = append(c.Peers, p)
	}
	commit(c)
	v.knows = fmt.Sprintf("peer-%05d", of.peers/2+1)
	c = &core.Change{}
	id := func(at time.Time, n int) string {
		var u ulid.ULID
		_ = u.SetTime(ulid.Timestamp(at))
		binary.BigEndian.PutUint32(u[12:], uint32(n))
		return u.String()
	}
	for n := range of.came {
		at, from := began.Add(time.Duration(n)*80*time.Millisecond), n*7919%of.peers
		if n%100 == 0 {
			from = of.peers/2 + 1
		}
		m := core.Message{Intent: "message", Nonce: core.Nonce(id(at, n)), ConversationID: fmt.Sprint("c", n%5), Payload: core.Raw(`{"topic":"general","message":"` + strings.Repeat("some words ", 10) + `"}`)}
		came := &core.InboxMessage{ID: id(at, n), Peer: key(from), At: at, Status: core.InboxNew, Message: m}
		switch {
		case n%500 == 250:
			came.Status, came.Reason = core.InboxHeld, "no topic"
		case n == of.came/2:
			v.came = came.ID
		}
		c.Inbox = append(c.Inbox, came)
		if n*of.sent/of.came != (n+1)*of.sent/of.came {
			o := &core.OutboxItem{ID: id(at, n), Peer: key(from), Kind: core.OutMessage, State: core.OutSent, Created: at, Done: at, Nonce: m.Nonce, Message: &m, Body: make([]byte, 900)}
			switch k := n * of.sent / of.came; {
			case k%56 == 0:
				o.State, o.Error = core.OutRefused, "403"
			case k%56 < 6:
				o.State, o.Done, o.Next = core.OutWaiting, time.Time{}, time.Now().Add(time.Hour)
			}
			if n > of.came/2 && v.sent == "" {
				v.sent = o.ID
			}
			c.Outbox = append(c.Outbox, o)
		}
		if len(c.Inbox) == 5000 {
			commit(c)
			c = &core.Change{}
		}
	}
	commit(c)
	return v
}

func used() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// inhabited is a whole daemon of a size that runs.
func inhabited(b testing.TB, of size) (town, *control.Client) {
	dir := filepath.Join(b.TempDir(), "ogp")
	env := []string{"HOME=" + dir, "OGP_DAEMON_PORT=0", "OGP_LISTEN=127.0.0.1", "OGP_NETWORK_ALLOW_PRIVATE=127.0.0.0/8", "OGP_HEALTH_INTERVAL=24h"}
	ready := make(chan api.StatusView, 1)
	open := func() *daemon.Daemon {
		d, err := daemon.Open(b.Context(), daemon.Options{Dir: dir, Version: "test", Log: io.Discard, Shipped: func(string) ([]byte, []byte, bool) { return nil, nil, false },
			Config: config.Options{Home: dir, Env: env}, Ready: func(s api.StatusView, _ bool) { ready <- s }})
		if err != nil {
			b.Fatal(err)
		}
		return d
	}
	open().Close() // it has a key now
	v := fill(b, dir, of)
	d := open()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	b.Cleanup(func() { stop(); <-done; d.Close() })
	<-ready
	return v, control.Dial(control.Path(dir))
}

// visit opens the console of a daemon in a browser without script, which gets a page at once.
func visit(b testing.TB, client *control.Client) func(path string) error {
	view, err := api.Console.Call(b.Context(), client, api.ConsoleParams{})
	for n := 0; err != nil && n < 100; n++ { // it answers before all of it runs
		time.Sleep(100 * time.Millisecond)
		view, err = api.Console.Call(b.Context(), client, api.ConsoleParams{})
	}
	if err != nil {
		b.Fatal(err)
	}
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	base := "http://" + view.Address
	resp, err := browser.PostForm(base+"/open", url.Values{"code": {view.Code}})
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(err, resp)
	}
	resp.Body.Close()
	return func(path string) error {
		resp, err := browser.Get(base + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%d: %.2000s", resp.StatusCode, body)
		}
		return err
	}
}

// paths are the pages of a town, by a name that every town has.
func (v town) paths(names ...string) map[string]string {
	out := map[string]string{}
	for _, name := range names {
		out[name] = strings.NewReplacer("CAME", v.came, "SENT", v.sent, "ASKS", v.asks, "KNOWS", v.knows).Replace(name)
	}
	return out
}

// listed are the pages that show a part of what there is, whatever else there is.
var listed = []string{"/", "/requests", "/requests/ASKS", "/peers", "/peers?state=approved", "/peers/KNOWS", "/messages", "/messages?box=in", "/messages?box=in&before=CAME",
	"/messages?box=in&status=new&before=CAME", "/messages?box=in&status=replied", "/messages?box=in&q=nowhere", "/messages?box=out", "/messages?box=out&status=sent", "/messages?box=out&status=waiting",
	"/messages/KNOWS", "/message/CAME", "/sent/SENT", "/live", "/live?type=message", "/live?peer=KNOWS", "/health", "/policies", "/invites", "/settings"}

// TestAPageCostsWhatItShows: what a page allocates does not grow with the peers, requests and
// messages that it does not show.
func TestAPageCostsWhatItShows(t *testing.T) {
	if testing.Short() {
		t.Skip("counts bytes, to which the race detector adds its own, and takes minutes there")
	}
	least := [2]map[string]uint64{{}, {}}
	var towns [2]town
	var get [2]func(string) error
	for i, of := range []size{{300, 6000, 2000}, {3000, 12000, 4000}} {
		v, client := inhabited(t, of)
		towns[i], get[i] = v, visit(t, client)
	}
	// Other work of the daemons counts as a page's, so the least of some visits does.
	grows := func(name string) bool {
		few, many := least[0][name], least[1][name]
		return few == 0 || many == 0 || many > few+few/4+32<<10
	}
	for round := range 40 {
		for i, v := range towns {
			for name, path := range v.paths(listed...) {
				if round > 3 && !grows(name) {
					continue
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if err := get[i](path); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				runtime.ReadMemStats(&after)
				if n := after.TotalAlloc - before.TotalAlloc; least[i][name] == 0 || n < least[i][name] {
					least[i][name] = n
				}
			}
		}
	}
	for _, name := range listed {
		if grows(name) {
			t.Errorf("%s allocates %d KiB with 300 peers, and %d KiB with 3,000", name, least[0][name]>>10, least[1][name]>>10)
		}
	}
}

// BenchmarkMillion is each page of a whole daemon's console until its first byte, and what the
// lists of the command line ask for, with all that a town has: by the clock, by CPU of the
// daemon and its caller, and in bytes that are allocated.
//
//	go test ./core/console -run XXX -bench Million -benchtime 20x -timeout 20m
func BenchmarkMillion(b *testing.B) {
	v, client := inhabited(b, million)
	ctx := b.Context()
	for before, n := used(), 0; n < 120; n++ { // after a start it reads what the last day had
		time.Sleep(time.Second)
		if now := used(); now-before < 100*time.Millisecond {
			break
		} else {
			before = now
		}
	}
	get := visit(b, client)
	measure := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			if err := f(); err != nil { // once before it counts
				b.Fatal(err)
			}
			b.ReportAllocs()
			before := used()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((used()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
	for _, name := range append(listed, "/peers?q=peer-09", "/peers?trouble", "/messages?box=in&status=held", "/messages?box=in&q=nowhere&before=CAME", "/messages?box=out&status=refused&before=SENT",
		"/messages?box=out&status=expired", "/messages?box=out&q=nowhere", "/messages/KNOWS?conversation=c0", "/messages/KNOWS?q=nowhere", "/live?type=federation.approved") {
		path := v.paths(name)[name]
		measure("GET "+name, func() error { return get(path) })
	}
	for name, f := range map[string]func() error{
		"inbox list": func() error { _, err := api.InboxPage.Call(ctx, client, api.InboxParams{Limit: 20}); return err },
		"outbox list": func() error {
			_, err := api.OutboxPage.Call(ctx, client, api.OutboxParams{State: core.OutWaiting, Limit: 20})
			return err
		},
		"federation list": func() error { _, err := api.Peers.Call(ctx, client, api.PeersParams{}); return err },
		"status":          func() error { _, err := api.Status.Call(ctx, client, api.None{}); return err },
		"doctor":          func() error { _, err := api.Doctor.Call(ctx, client, api.DoctorParams{}); return err },
	} {
		measure("ogp "+name, f)
	}
}
