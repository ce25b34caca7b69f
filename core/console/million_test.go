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

// town is what a gateway has kept: of 10,000 peers 2,000 ask; a million messages came, of
// which 2,000 are held; 100,000 were sent, 10,000 wait, and some were refused. Every hundredth
// is of one peer.
type town struct {
	came, sent string // ids in the middle
	asks       string // the fingerprint of one that asks
}

const townPeers, townCame, townSent = 10_000, 1_000_000, 112_000

func fill(b *testing.B, dir string) (v town) {
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
	began := time.Now().Add(-townCame * 80 * time.Millisecond)
	c, key := &core.Change{}, func(n int) (k core.PublicKey) {
		binary.BigEndian.PutUint32(k[:], uint32(n+1))
		return k
	}
	for n := range townPeers {
		p := &core.Peer{Key: key(n), Alias: fmt.Sprintf("peer-%05d", n), Trust: core.Approved, URL: fmt.Sprintf("http://127.0.0.1:1/%d", n), RequestedAt: began.Add(time.Duration(n) * time.Second), Revision: 1,
			Names: core.Names{DisplayName: fmt.Sprint("Gateway ", n), AgentName: "agent", Email: fmt.Sprintf("ops@%d.example", n)}}
		if n%5 == 0 {
			p.Alias, p.Trust = "", core.Pending
			v.asks = p.Key.Fingerprint()
		}
		c.Peers = append(c.Peers, p)
	}
	commit(c)
	c = &core.Change{}
	id := func(at time.Time, n int) string {
		var u ulid.ULID
		_ = u.SetTime(ulid.Timestamp(at))
		binary.BigEndian.PutUint32(u[12:], uint32(n))
		return u.String()
	}
	for n := range townCame {
		at, from := began.Add(time.Duration(n)*80*time.Millisecond), n*7919%townPeers
		if n%100 == 0 {
			from = townPeers/2 + 1
		}
		m := core.Message{Intent: "message", Nonce: core.Nonce(id(at, n)), ConversationID: fmt.Sprint("c", n%5), Payload: core.Raw(`{"topic":"general","message":"` + strings.Repeat("some words ", 10) + `"}`)}
		came := &core.InboxMessage{ID: id(at, n), Peer: key(from), At: at, Status: core.InboxNew, Message: m}
		switch {
		case n%500 == 250:
			came.Status, came.Reason = core.InboxHeld, "no topic"
		case n == townCame/2:
			v.came = came.ID
		}
		c.Inbox = append(c.Inbox, came)
		if n*townSent/townCame != (n+1)*townSent/townCame {
			o := &core.OutboxItem{ID: id(at, n), Peer: key(from), Kind: core.OutMessage, State: core.OutSent, Created: at, Done: at, Nonce: m.Nonce, Message: &m, Body: make([]byte, 900)}
			switch k := n * townSent / townCame; {
			case k%56 == 0:
				o.State, o.Error = core.OutRefused, "403"
			case k%56 < 6:
				o.State, o.Done, o.Next = core.OutWaiting, time.Time{}, time.Now().Add(time.Hour)
			}
			if n > townCame/2 && v.sent == "" {
				v.sent = o.ID
			}
			c.Outbox = append(c.Outbox, o)
		}
		if len(c.Inbox) == 5000 {
			commit(c)
			c = &core.Change{}
		}
	}
	return v
}

func used() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMillion is each page of a whole daemon's console until its first byte, and what the
// lists of the command line ask for, with all that a town has: by the clock, by CPU of the
// daemon and its caller, and in bytes that are allocated.
//
//	go test ./core/console -run XXX -bench Million -benchtime 20x -timeout 20m
func BenchmarkMillion(b *testing.B) {
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
	v := fill(b, dir)
	d := open()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	b.Cleanup(func() { stop(); <-done; d.Close() })
	<-ready
	client := control.Dial(control.Path(dir))
	for before, n := used(), 0; n < 120; n++ { // after a start it reads what the last day had
		time.Sleep(time.Second)
		if now := used(); now-before < 100*time.Millisecond {
			break
		} else {
			before = now
		}
	}
	view, err := api.Console.Call(ctx, client, api.ConsoleParams{})
	for n := 0; err != nil && n < 100; n++ { // it answers before all of it runs
		time.Sleep(100 * time.Millisecond)
		view, err = api.Console.Call(ctx, client, api.ConsoleParams{})
	}
	if err != nil {
		b.Fatal(err)
	}
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
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
	base := "http://" + view.Address
	resp, err := browser.PostForm(base+"/open", url.Values{"code": {view.Code}})
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(err, resp)
	}
	resp.Body.Close()
	for _, path := range []string{"/", "/requests", "/requests/" + v.asks, "/peers", "/peers?q=peer-09", "/peers?trouble", "/peers/peer-05001", "/messages", "/messages?box=in", "/messages?box=in&before=" + v.came,
		"/messages?box=in&status=held", "/messages?box=in&status=new&before=" + v.came, "/messages?box=in&status=replied", "/messages?box=in&q=nowhere", "/messages?box=in&q=nowhere&before=" + v.came,
		"/messages?box=out", "/messages?box=out&status=sent", "/messages?box=out&status=waiting", "/messages?box=out&status=refused&before=" + v.sent, "/messages?box=out&status=expired", "/messages?box=out&q=nowhere",
		"/messages/peer-05001", "/messages/peer-05001?conversation=c0", "/messages/peer-05001?q=nowhere", "/message/" + v.came, "/sent/" + v.sent,
		"/live", "/live?type=message", "/live?type=federation.approved", "/live?peer=peer-05001", "/health", "/policies", "/invites", "/settings"} {
		measure("GET "+strings.NewReplacer(v.came, "MIDDLE", v.sent, "MIDDLE", v.asks, "ONE").Replace(path), func() error {
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
		})
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
