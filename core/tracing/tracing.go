// Package tracing makes a span of every message in and out, and of every notice, where
// the standard variables of OpenTelemetry name a collector that takes OTLP over HTTP.
// Spans hold what the log holds: no bodies, no keys.
package tracing

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/counts"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// Tracing wraps what messages pass through. A nil one wraps nothing and costs nothing.
// Safe for concurrent use.
type Tracing struct {
	provider *trace.TracerProvider
	tracer   api.Tracer
}

// Open starts tracing if OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set and OTEL_SDK_DISABLED is not true;
// otherwise it returns nil. Close sends what is left.
func Open(ctx context.Context, env []string, version string) (*Tracing, error) {
	if config.Getenv(env, "OTEL_EXPORTER_OTLP_ENDPOINT") == "" && config.Getenv(env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" ||
		strings.EqualFold(config.Getenv(env, "OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, err
	}
	attributes, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "ogp"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(attributes))
	return &Tracing{provider, provider.Tracer("github.com/opengatewayprotocol/ogp")}, nil
}

// Close sends what has not been sent.
func (t *Tracing) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // a collector that is away loses its spans, nothing else
}

func (t *Tracing) start(ctx context.Context, name string, kind api.SpanKind, attributes ...attribute.KeyValue) (context.Context, api.Span) {
	return t.tracer.Start(ctx, name, api.WithSpanKind(kind), api.WithAttributes(attributes...))
}

// end closes a span with what came of a message.
func end(span api.Span, a core.Answer, err error) {
	verdict := counts.Verdict(a, err)
	span.SetAttributes(attribute.String("ogp.verdict", verdict), attribute.Int("http.response.status_code", a.Status))
	if err != nil {
		span.SetStatus(codes.Error, verdict)
	}
	span.End()
}

// Inward wraps the gateway that the server hands messages to.
func (t *Tracing) Inward(g federation.Gateway) federation.Gateway {
	if t == nil {
		return g
	}
	return tracedGateway{g, t}
}

type tracedGateway struct {
	federation.Gateway
	t *Tracing
}

func (g tracedGateway) receive(ctx context.Context, what string, f func(context.Context) (core.Answer, error)) (core.Answer, error) {
	ctx, span := g.t.start(ctx, "receive "+what, api.SpanKindServer, attribute.String("ogp.message", what))
	a, err := f(ctx)
	end(span, a, err)
	return a, err
}

func (g tracedGateway) ReceiveRequest(ctx context.Context, body []byte, from netip.Addr) (core.Answer, error) {
	return g.receive(ctx, "request", func(ctx context.Context) (core.Answer, error) { return g.Gateway.ReceiveRequest(ctx, body, from) })
}

func (g tracedGateway) ReceiveApproval(ctx context.Context, body []byte) (core.Answer, error) {
	return g.receive(ctx, "approve", func(ctx context.Context) (core.Answer, error) { return g.Gateway.ReceiveApproval(ctx, body) })
}

func (g tracedGateway) ReceiveRemoval(ctx context.Context, body []byte) (core.Answer, error) {
	return g.receive(ctx, "removed", func(ctx context.Context) (core.Answer, error) { return g.Gateway.ReceiveRemoval(ctx, body) })
}

func (g tracedGateway) ReceiveMessage(ctx context.Context, body []byte) (core.Answer, error) {
	return g.receive(ctx, "message", func(ctx context.Context) (core.Answer, error) { return g.Gateway.ReceiveMessage(ctx, body) })
}

func (g tracedGateway) ReceiveReply(ctx context.Context, nonce core.Nonce, body []byte) (core.Answer, error) {
	return g.receive(ctx, "reply", func(ctx context.Context) (core.Answer, error) { return g.Gateway.ReceiveReply(ctx, nonce, body) })
}

func (g tracedGateway) ReceiveIdentity(ctx context.Context, body []byte) (core.Answer, error) {
	return g.receive(ctx, "update-identity", func(ctx context.Context) (core.Answer, error) { return g.Gateway.ReceiveIdentity(ctx, body) })
}

// Outward wraps the way out.
func (t *Tracing) Outward(w gateway.Transport) gateway.Transport {
	if t == nil {
		return w
	}
	return tracedTransport{w, t}
}

type tracedTransport struct {
	gateway.Transport
	t *Tracing
}

func (w tracedTransport) Post(ctx context.Context, url, path string, body []byte) (core.Answer, error) {
	ctx, span := w.t.start(ctx, "send "+path, api.SpanKindClient, attribute.String("url.path", path))
	a, err := w.Transport.Post(ctx, url, path, body)
	end(span, a, err)
	return a, err
}

func (w tracedTransport) PostURL(ctx context.Context, url string, body []byte) (core.Answer, error) {
	ctx, span := w.t.start(ctx, "send reply", api.SpanKindClient)
	a, err := w.Transport.PostURL(ctx, url, body)
	end(span, a, err)
	return a, err
}

// Notifier wraps a notifier.
func (t *Tracing) Notifier(n core.Notifier) core.Notifier {
	if t == nil {
		return n
	}
	return tracedNotifier{n, t}
}

type tracedNotifier struct {
	core.Notifier
	t *Tracing
}

// Keyed is the notifier's own.
func (n tracedNotifier) Keyed() bool { return delivery.Keyed(n.Notifier) }

func (n tracedNotifier) Notify(ctx context.Context, notices []core.Notice) core.Outcome {
	ctx, span := n.t.start(ctx, "notify "+n.Name(), api.SpanKindProducer, attribute.Int("ogp.notices", len(notices)))
	defer span.End()
	o := n.Notifier.Notify(ctx, notices)
	span.SetAttributes(attribute.String("ogp.outcome", string(o.Status)))
	if o.Status != core.OutcomeDelivered && o.Status != core.OutcomeWorking {
		span.SetStatus(codes.Error, string(o.Status))
	}
	return o
}
