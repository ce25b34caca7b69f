package delivery

import (
	"context"
	"log/slog"

	"github.com/opengatewayprotocol/ogp/core"
)

// LogNotifier writes one log line for each event: what happened and who it
// concerns, never what a peer said.
type LogNotifier struct{ Logger *slog.Logger }

var _ core.Notifier = LogNotifier{}

// Name is "log".
func (LogNotifier) Name() string { return "log" }

// Keyed says that a line that comes twice after a crash does no harm.
func (LogNotifier) Keyed() bool { return true }

// Batch is how many events one call takes.
func (LogNotifier) Batch() int { return 1 }

// Notify always delivers.
func (n LogNotifier) Notify(ctx context.Context, notices []core.Notice) core.Outcome {
	for _, x := range notices {
		attrs := []any{"type", x.Event.Type, "event", x.Event.ID}
		if x.Event.By != "" {
			attrs = append(attrs, "by", x.Event.By)
		}
		if x.Peer != nil {
			attrs = append(attrs, "peer", x.Peer.Name())
		}
		if m := x.Event.Message; m != nil {
			attrs = append(attrs, "intent", m.Message.Intent, "nonce", m.Message.Nonce)
		}
		n.Logger.InfoContext(ctx, "event", attrs...)
	}
	return core.Outcome{Status: core.OutcomeDelivered}
}
