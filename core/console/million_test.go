package console

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/history"
	"github.com/opengatewayprotocol/ogp/core/reader"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
)

// town is a gateway with many peers.
type town struct {
	list  []*core.Peer
	byKey map[core.PublicKey]*core.Peer
}

func (v *town) Peers() []*core.Peer                { return v.list }
func (v *town) Peer(k core.PublicKey) *core.Peer   { return v.byKey[k] }
func (v *town) Resolve(string) (*core.Peer, error) { return v.list[len(v.list)/2], nil }
func (v *town) view(p *core.Peer) api.PeerView {
	return api.PeerView{Alias: p.Alias, Name: p.Name(), Fingerprint: p.Key.Fingerprint(), PublicKey: p.Key, State: p.Trust, Standing: "approved"}
}

// BenchmarkMillion is each page that could grow, with 10,000 peers and 1,000,000 messages
// in the store, of which every hundredth is from or for one peer.
//
//	go test ./core/console -run XXX -bench Million -benchtime 20x -timeout 20m
func BenchmarkMillion(b *testing.B) {
	const peers, messages, batch = 10_000, 1_000_000, 5000
	ctx := context.Background()
	store, err := sqlite.Open(ctx, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	v := &town{byKey: map[core.PublicKey]*core.Peer{}}
	for n := range peers {
		p := &core.Peer{Alias: fmt.Sprintf("peer-%05d", n), Trust: core.Approved, RequestedAt: time.Unix(int64(n), 0)}
		binary.BigEndian.PutUint32(p.Key[:], uint32(n+1))
		v.list, v.byKey[p.Key] = append(v.list, p), p
	}
	began := time.Now().Add(-messages * 80 * time.Millisecond)
	for from := 0; from < messages; from += batch {
		c := &core.Change{}
		for n := from; n < from+batch; n++ {
			at, id, p := began.Add(time.Duration(n)*80*time.Millisecond), fmt.Sprintf("01%024d", n), v.list[n*7919%peers]
			if n%100 < 2 {
				p = v.list[peers/2]
			}
			m := core.Message{Intent: "message", Nonce: core.Nonce(id), ConversationID: fmt.Sprint("c", n%5), Payload: raw(strings.Repeat("some words ", 10))}
			if n%2 == 0 {
				c.Inbox = append(c.Inbox, &core.InboxMessage{ID: id, Peer: p.Key, At: at, Status: core.InboxNew, Message: m})
			} else {
				c.Outbox = append(c.Outbox, &core.OutboxItem{ID: id, Peer: p.Key, Kind: core.OutMessage, State: core.OutSent, Created: at, Done: at, Nonce: m.Nonce, Message: &m})
			}
		}
		if err := store.Commit(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
	past := history.New(history.Options{Read: func(context.Context) history.Reading { return history.Reading{} }})
	local := append(control.Local((&reader.Reader{Store: store, Gateway: v, View: v.view}).Handlers()),
		api.History.Handle(func(ctx context.Context, p history.Params) (api.HistoryView, error) {
			h, err := past.View(ctx, p)
			return api.HistoryView{View: h}, err
		}),
		api.Peer.Handle(func(context.Context, api.PeerRef) (api.PeerView, error) { return v.view(v.list[peers/2]), nil }),
	)
	s := New(Options{Caller: local, Command: "ogp", Logger: slog.New(slog.DiscardHandler),
		Listen: func() (net.Listener, func(string) bool, error) { return Listen("127.0.0.1:0", "", "") }})
	run, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(run) }()
	defer func() { stop(); <-done }()
	view, err := s.Open(nil)
	for ; err != nil; view, err = s.Open(nil) {
		time.Sleep(10 * time.Millisecond)
	}
	value, _ := s.sessions.redeem(view.Code, nil)
	for _, path := range []string{"/peers", "/peers?q=peer-09", "/messages", "/messages?box=in", "/messages?box=in&q=nowhere", "/messages?box=in&before=" + fmt.Sprintf("01%024d", messages/2),
		"/messages?box=out&status=sent", "/messages/peer-05000", "/messages/peer-05000?conversation=c0", "/messages/peer-05000?q=nowhere"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				req, _ := http.NewRequest("GET", "http://"+view.Address+path, nil)
				req.AddCookie(&http.Cookie{Name: s.sessions.name, Value: value})
				resp, err := http.DefaultClient.Do(req)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(err, resp)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}
