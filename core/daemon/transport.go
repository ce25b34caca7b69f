package daemon

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/federation"
)

// wire is the way out, which a reload can replace: the guard's ranges are part of
// it.
type wire struct {
	now  atomic.Pointer[federation.Client]
	push atomic.Pointer[dial.Client] // to A2A clients
}

// newWire makes it from what a configuration puts in force.
func newWire(f forces) *wire {
	w := &wire{}
	w.set(f)
	return w
}

func (w *wire) set(f forces) {
	w.now.Store(federation.NewClient(dial.New(f.dial)))
	w.push.Store(dial.New(f.push))
}

// Permits judges what can be judged of an A2A client's URL before it is dialled.
func (w *wire) Permits(u *url.URL) error { return w.push.Load().Permits(u) }

// PostTo posts to an A2A client.
func (w *wire) PostTo(ctx context.Context, to string, header http.Header, body []byte) (int, http.Header, error) {
	req, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = header
	a, err := w.push.Load().Do(ctx, req)
	return a.Status, a.Header, err
}

func (w *wire) Card(ctx context.Context, url string, headers map[string]string) (core.Card, error) {
	return w.now.Load().Card(ctx, url, headers)
}

func (w *wire) Ping(ctx context.Context, url string) (core.Pong, error) {
	return w.now.Load().Ping(ctx, url)
}

func (w *wire) Post(ctx context.Context, url, path string, body []byte) (core.Answer, error) {
	return w.now.Load().Post(ctx, url, path, body)
}

func (w *wire) PostURL(ctx context.Context, url string, body []byte) (core.Answer, error) {
	return w.now.Load().PostURL(ctx, url, body)
}

func (w *wire) PollReply(ctx context.Context, url string, nonce core.Nonce) (core.Answer, error) {
	return w.now.Load().PollReply(ctx, url, nonce)
}
