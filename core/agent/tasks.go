package agent

import (
	"context"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// Peers lists the approved peers, as the agent's method does.
func (r *Role) Peers(ctx context.Context) ([]api.AgentPeer, error) { return r.peers(ctx, api.None{}) }

// maxTasks bounds how many messages a list of tasks looks at.
const maxTasks = maxPages * maxShown

// Tasks lists our messages to one approved peer, of one conversation if it is named, the
// newest first and at the most the last 2,000.
func (r *Role) Tasks(ctx context.Context, peer, conversation string) ([]api.AgentSent, error) {
	p, err := r.find(peer)
	if err != nil {
		return nil, err
	}
	list, err := r.items(ctx, core.OutboxFilter{Peer: p.Key}, func(item *core.OutboxItem) bool {
		return item.Kind == core.OutMessage && item.Message != nil && (conversation == "" || word(item.Message.ConversationID) == conversation)
	}, maxTasks)
	if err != nil {
		return nil, err
	}
	return r.allSent(ctx, list)
}

// Cancel gives up a message that still waits, if it is the agent's own. The error is of
// kind NotFound for a message of none or to no approved peer, and Conflict for one that
// does not wait, or that the human sent.
func (r *Role) Cancel(ctx context.Context, id string) (api.AgentSent, error) {
	v, err := r.Result(ctx, api.AgentResultParams{ID: id})
	if err != nil {
		return v, err
	}
	item, err := r.o.Store.OutboxItem(ctx, v.ID)
	if err != nil {
		return v, err
	}
	own, err := r.own(ctx, item)
	if err != nil {
		return v, err
	}
	if !own {
		return v, core.Refuse(core.Conflict, "the human sent this message; only the human cancels it")
	}
	if err := r.o.Gateway.TakeBack(ctx, item, r.o.Gateway.Peer(item.Peer)); err != nil {
		return v, plain(err)
	}
	return r.Result(ctx, api.AgentResultParams{ID: item.ID})
}

// own reports whether the agent sent a message. The event of it was kept in one step with
// the message, so it is among the first since then.
func (r *Role) own(ctx context.Context, item *core.OutboxItem) (bool, error) {
	made, err := ulid.Parse(strings.ToUpper(item.ID))
	if err != nil {
		return false, nil
	}
	var from ulid.ULID
	if ms := made.Time(); ms > 1000 {
		if err := from.SetTime(ms - 1000); err != nil {
			return false, err
		}
	}
	after := from.String()
	for range maxPages {
		page, err := r.o.Store.Events(ctx, after, 500)
		if err != nil || len(page) == 0 {
			return false, err
		}
		for _, e := range page {
			after = e.ID
			var a gateway.Act
			if e.Type == core.EventAgentSent && e.Peer == item.Peer && json.Unmarshal(e.Data, &a) == nil && a.OutboxID == item.ID {
				return true, nil
			}
		}
	}
	return false, nil
}
