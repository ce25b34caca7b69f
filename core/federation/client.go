package federation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/dial"
)

// Client carries envelopes to other gateways. Safe for concurrent use.
type Client struct {
	dial *dial.Client
}

// NewClient returns a client that dials through the guard.
func NewClient(d *dial.Client) *Client { return &Client{d} }

// do sends a request and turns what the guard says into our kinds.
func (c *Client) do(ctx context.Context, method, target string, headers map[string]string, body []byte) (core.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return core.Answer{}, &core.Error{Kind: core.Malformed, Public: "not a gateway URL", Err: err}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept-Encoding", "identity") // without it, any may be used
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	a, err := c.dial.Do(ctx, req)
	if err != nil {
		e := &core.Error{Kind: core.Unreachable, Public: err.Error()}
		var guard *dial.Error
		if errors.As(err, &guard) {
			e.Hint = guard.Hint()
		}
		return core.Answer{}, e
	}
	date, _ := http.ParseTime(a.Header.Get("Date")) // zero where there is none
	return core.Answer{Status: a.Status, Body: a.Body, RetryAfter: retryAfter(a.Header.Get("Retry-After"), a.Body),
		Server: cmp.Or(a.Header.Get("Server"), a.Header.Get("Via")), Date: date}, nil
}

// maxRetryAfter bounds how long another gateway can make us wait.
const maxRetryAfter = time.Hour

// retryAfter reads the header (RFC 9110 §10.2.3), else the member of the body
// that gateways since 0.4 send.
func retryAfter(header string, body []byte) time.Duration {
	const most = int(maxRetryAfter / time.Second)
	if n, err := strconv.Atoi(header); err == nil && n > 0 {
		return time.Duration(min(n, most)) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(time.Until(at), 0), maxRetryAfter)
	}
	var b struct {
		RetryAfter float64 `json:"retryAfter"`
	}
	if json.Unmarshal(body, &b) == nil && b.RetryAfter > 0 {
		return time.Duration(min(b.RetryAfter, float64(most)) * float64(time.Second))
	}
	return 0
}

func join(gatewayURL, path string) string { return strings.TrimRight(gatewayURL, "/") + path }

// notGateway is the error for an answer that no gateway gives.
func notGateway(gatewayURL string, err error) error {
	return &core.Error{Kind: core.Refused, Public: fmt.Sprintf("no OGP gateway answers at %s", gatewayURL), Err: err,
		Hint: "check the URL; the command ogp whoami, run at that gateway, shows it"}
}

// Card gets a gateway's card. Errors are of kind Unreachable, or Refused when
// what answers is not a gateway.
func (c *Client) Card(ctx context.Context, gatewayURL string, headers map[string]string) (core.Card, error) {
	var card core.Card
	a, err := c.do(ctx, http.MethodGet, join(gatewayURL, PathCard), headers, nil)
	if err != nil {
		return card, err
	}
	if a.Status != http.StatusOK {
		return card, notGateway(gatewayURL, fmt.Errorf("status %d", a.Status))
	}
	if err := json.Unmarshal(a.Body, &card); err != nil || card.PublicKey == "" {
		return card, notGateway(gatewayURL, err)
	}
	return card, nil
}

// Ping asks a gateway whether it is there.
func (c *Client) Ping(ctx context.Context, gatewayURL string) (core.Pong, error) {
	var pong core.Pong
	a, err := c.do(ctx, http.MethodGet, join(gatewayURL, PathPing), nil, nil)
	if err != nil {
		return pong, err
	}
	if json.Unmarshal(a.Body, &pong) != nil || !pong.Pong {
		return pong, notGateway(gatewayURL, fmt.Errorf("status %d", a.Status))
	}
	return pong, nil
}

// Post sends an envelope to one of a gateway's endpoints. Any status is an answer.
func (c *Client) Post(ctx context.Context, gatewayURL, path string, body []byte) (core.Answer, error) {
	return c.do(ctx, http.MethodPost, join(gatewayURL, path), nil, body)
}

// PostURL sends an envelope to a URL that was checked to be the peer's own.
func (c *Client) PostURL(ctx context.Context, target string, body []byte) (core.Answer, error) {
	return c.do(ctx, http.MethodPost, target, nil, body)
}

// PollReply asks a gateway for the reply to a nonce.
func (c *Client) PollReply(ctx context.Context, gatewayURL string, nonce core.Nonce) (core.Answer, error) {
	return c.do(ctx, http.MethodGet, join(gatewayURL, PathReply+url.PathEscape(string(nonce))), nil, nil)
}
