package daemon

import (
	"context"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/legacy"
	"github.com/opengatewayprotocol/ogp/core/reader"
)

func (d *Daemon) send(ctx context.Context, p api.SendParams) (api.OutgoingView, error) {
	peer, err := d.gateway.Resolve(p.Peer)
	if err != nil {
		return api.OutgoingView{}, err
	}
	sent, err := d.gateway.Send(ctx, peer.Key, gateway.Sending{Intent: p.Intent, Payload: p.Payload, ToAgent: p.ToAgent,
		ConversationID: p.ConversationID, WantReply: p.WantReply, Now: p.Now, Wait: time.Duration(p.WaitMillis) * time.Millisecond})
	v, err := d.outgoing(sent, err)
	v.Reply = sent.Reply
	return v, err
}

func (d *Daemon) ping(ctx context.Context, p api.PingParams) (api.PingResult, error) {
	target := p.Target
	if !strings.Contains(target, "://") {
		peer, err := d.gateway.Resolve(target)
		if err != nil {
			return api.PingResult{}, err
		}
		target = peer.URL
	}
	pong, took, err := d.gateway.PingGateway(ctx, target)
	return api.PingResult{Pong: pong, URL: target, TookMillis: float64(took.Microseconds()) / 1000}, err
}

// reader answers what an operator reads.
func (d *Daemon) reader() *reader.Reader {
	return &reader.Reader{Store: d.shown(), Gateway: d.gateway, View: func(p *core.Peer) api.PeerView { return d.view(p, false) },
		Trouble: func(p *core.Peer) bool {
			return api.PeerView{State: p.Trust, Warning: p.Warning, Paused: d.paused(p.Key), Health: api.HealthView{Health: d.gateway.Health(p.Key)}}.InTrouble()
		}}
}

func (d *Daemon) inboxReply(ctx context.Context, p api.ReplyParams) (api.OutgoingView, error) {
	m, err := d.reader().FindInbox(ctx, p.ID)
	if err != nil {
		return api.OutgoingView{}, err
	}
	v, err := d.outgoing(d.gateway.InboxReply(ctx, m.ID, core.Reply{Success: p.Error == "", Data: p.Data, Error: p.Error}, false))
	if err == nil {
		v.Answered = new(d.reader().InboxView(m))
	}
	return v, err
}

func (d *Daemon) exportPeers(context.Context, api.None) (core.Raw, error) {
	return legacy.ExportPeers(d.gateway.Peers())
}
