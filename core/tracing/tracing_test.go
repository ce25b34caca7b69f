package tracing

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// A collector that the standard variables name gets a span for each message, by
// what came of it, and nothing of what the message said.
func TestTracingSendsSpans(t *testing.T) {
	var mu sync.Mutex
	var got strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got.WriteString(r.URL.Path + " ")
		got.Write(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tr, err := Open(context.Background(), []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL}, "1")
	if err != nil || tr == nil {
		t.Fatalf("Open = %v, %v; want tracing", tr, err)
	}
	g := tracedGateway{t: tr}
	const secret = "the words of a message"
	_, err = g.receive(context.Background(), "message", func(context.Context) (core.Answer, error) {
		return core.Answer{}, core.Refuse(core.RateLimited, secret)
	})
	if err == nil {
		t.Error("the wrapper swallowed the error")
	}
	tr.Close()
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"/v1/traces ", "receive message", "rate-limited", "ogp"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("the collector did not get %q", want)
		}
	}
	if strings.Contains(got.String(), secret) {
		t.Error("a span holds what a message said")
	}
}

// Without the variables there is no tracing, and nothing is wrapped.
func TestNoTracingByDefault(t *testing.T) {
	for _, env := range [][]string{nil, {"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:1", "OTEL_SDK_DISABLED=true"}} {
		tr, err := Open(context.Background(), env, "1")
		if tr != nil || err != nil {
			t.Errorf("Open with %q = %v, %v; want none", env, tr, err)
		}
		w := federation.NewClient(dial.New(dial.Options{}))
		if tr.Outward(w) != gateway.Transport(w) {
			t.Error("the way out is wrapped without tracing")
		}
		tr.Close()
	}
}
