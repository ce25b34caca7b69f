package rendezvous

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// call sends one request and reads the answer into v. Errors are of kind
// Unreachable when there is no answer, of the kind that the status says when
// there is one (with its text, clipped), and Malformed for an answer that is no
// JSON.
func (c *Client) call(ctx context.Context, r *remote, method, path string, body []byte, v any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	u, err := url.Parse(r.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return &core.Error{Kind: core.Malformed, Public: "rendezvous: the address is not an http or https URL", Err: err}
	}
	request, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return &core.Error{Kind: core.Malformed, Public: "rendezvous: the address is not an http or https URL", Err: err}
	}
	request.Header.Set("User-Agent", "ogp")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := r.http.Do(request)
	if err != nil {
		return &core.Error{Kind: core.Unreachable, Public: "the rendezvous " + u.Host + " did not answer", Err: dial.Classify(err)} // without its URL, which holds the code
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return &core.Error{Kind: core.Unreachable, Public: "the rendezvous " + u.Host + " broke off", Err: dial.Classify(err)}
	}
	if len(text) > maxAnswerBytes {
		return core.Refusef(core.TooLarge, "the rendezvous %s answers with more than %d bytes", u.Host, maxAnswerBytes)
	}
	if response.StatusCode != http.StatusOK {
		return refused(u.Host, response, text)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return &core.Error{Kind: core.Malformed, Public: "the rendezvous " + u.Host + " gave an answer that is not of the protocol: is it a rendezvous?", Err: err}
	}
	return nil
}

// kinds are what a server's statuses mean to us.
var kinds = map[int]core.Kind{
	http.StatusNotFound:           core.NotFound,
	http.StatusConflict:           core.Conflict,
	http.StatusTooManyRequests:    core.RateLimited,
	http.StatusServiceUnavailable: core.Unavailable,
	http.StatusBadGateway:         core.Unreachable,
	http.StatusGatewayTimeout:     core.Unreachable,
}

// maxRetryAfterSeconds bounds what we read of Retry-After.
const maxRetryAfterSeconds = 86_400

func refused(host string, response *http.Response, body []byte) error {
	kind, ok := kinds[response.StatusCode]
	if !ok {
		kind = core.Refused
	}
	e := &core.Error{Kind: kind, Public: fmt.Sprintf("the rendezvous %s answers with status %d", host, response.StatusCode)}
	var a struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &a) == nil && a.Error != "" {
		e.Public += ": " + text.Line(a.Error, 200)
	}
	if after, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && after > 0 {
		e.RetryAfter = time.Duration(min(after, maxRetryAfterSeconds)) * time.Second
	}
	return e
}
