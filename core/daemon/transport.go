package daemon

import (
	"context"
	"sync/atomic"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/federation"
)

// wire is the way out, which a reload can replace: the guard's ranges are part of
// it.
type wire struct {
	now atomic.Pointer[federation.Client]
}

func newWire(o dial.Options) *wire {
	w := &wire{}
	w.set(o)
	return w
}

func (w *wire) set(o dial.Options) { w.now.Store(federation.NewClient(dial.New(o))) }

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
