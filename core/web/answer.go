package web

import (
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/opengatewayprotocol/ogp/core"
)

const contentJSON = "application/json; charset=utf-8"

// statuses is the one table from kinds to statuses.
var statuses = map[core.Kind]int{
	core.Malformed:    fasthttp.StatusBadRequest,
	core.Stale:        fasthttp.StatusBadRequest,
	core.Ambiguous:    fasthttp.StatusBadRequest,
	core.BadSignature: fasthttp.StatusUnauthorized,
	core.Forbidden:    fasthttp.StatusForbidden,
	core.NotApproved:  fasthttp.StatusForbidden,
	core.UnknownPeer:  fasthttp.StatusForbidden,
	core.NotFound:     fasthttp.StatusNotFound,
	core.Conflict:     fasthttp.StatusConflict,
	core.Replayed:     fasthttp.StatusConflict,
	core.TooLarge:     fasthttp.StatusRequestEntityTooLarge,
	core.Unsupported:  fasthttp.StatusUnsupportedMediaType,
	core.RateLimited:  fasthttp.StatusTooManyRequests,
	core.Internal:     fasthttp.StatusInternalServerError,
	core.Refused:      fasthttp.StatusBadGateway,
	core.Unreachable:  fasthttp.StatusBadGateway,
	core.Unavailable:  fasthttp.StatusServiceUnavailable,
	core.Full:         fasthttp.StatusInsufficientStorage,
}

// StatusOf gives the HTTP status of a kind; 500 for one that is not in the table.
func StatusOf(kind core.Kind) int {
	if s, ok := statuses[kind]; ok {
		return s
	}
	return fasthttp.StatusInternalServerError
}

// texts are the errors that the router, the parser and bare kinds are answered
// with. They say nothing of the request.
var texts = map[int]string{
	fasthttp.StatusBadRequest:                  "Bad request",
	fasthttp.StatusUnauthorized:                "Unauthorized",
	fasthttp.StatusForbidden:                   "Forbidden",
	fasthttp.StatusNotFound:                    "Not found",
	fasthttp.StatusMethodNotAllowed:            "Method not allowed",
	fasthttp.StatusRequestTimeout:              "Request timeout",
	fasthttp.StatusConflict:                    "Conflict",
	fasthttp.StatusRequestEntityTooLarge:       "Request body too large",
	fasthttp.StatusUnsupportedMediaType:        "Unsupported media type",
	fasthttp.StatusMisdirectedRequest:          "This is served under its own address only",
	fasthttp.StatusTooManyRequests:             "Too many requests",
	fasthttp.StatusRequestHeaderFieldsTooLarge: "Request headers too large",
	fasthttp.StatusBadGateway:                  "Bad gateway",
	fasthttp.StatusServiceUnavailable:          "Service unavailable",
	fasthttp.StatusInsufficientStorage:         "Insufficient storage",
}

func statusText(status int) string {
	if t, ok := texts[status]; ok {
		return t
	}
	return "Internal server error"
}

// JSON answers with v as one JSON value, written as JSON.stringify would: no
// HTML escapes, the order of the struct's fields. An error of the encoder
// becomes a 500.
func JSON(c *fiber.Ctx, status int, v any) error {
	body, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	Raw(c, status, body)
	return nil
}

// Raw answers with text that is JSON already. It does not copy body, which must
// stay as it is.
func Raw(c *fiber.Ctx, status int, body []byte) {
	r := c.Response()
	r.SetStatusCode(status)
	r.Header.SetContentType(contentJSON)
	r.SetBodyRaw(body)
}

// Copy is Raw for a body that is the caller's to use again.
func Copy(c *fiber.Ctx, status int, body []byte) {
	r := c.Response()
	r.SetStatusCode(status)
	r.Header.SetContentType(contentJSON)
	r.SetBody(body)
}

// SetRetryAfter says after how long to try again, in whole seconds, rounded up.
// Zero says nothing.
func SetRetryAfter(c *fiber.Ctx, after time.Duration) {
	if after > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
}

// maxErrorBytes bounds the text of an error, and with it what of a request can come
// back to whoever sent it.
const maxErrorBytes = 256

// ErrorText bounds a text that leaves the process as an error.
//
// docs/threat-model.md#n3
func ErrorText(s string) string {
	if len(s) > maxErrorBytes {
		return strings.ToValidUTF8(s[:maxErrorBytes-len("…")], "") + "…"
	}
	return s
}

func writeError(rctx *fasthttp.RequestCtx, status int, text string) error {
	text = ErrorText(text)
	body, err := json.Marshal(struct {
		Error string `json:"error"`
	}{text})
	if err != nil {
		body = []byte(`{"error":"Internal server error"}`) // the text was no UTF-8
	}
	rctx.Response.SetStatusCode(status)
	rctx.Response.Header.SetContentType(contentJSON)
	rctx.Response.SetBodyRaw(body)
	return nil
}
