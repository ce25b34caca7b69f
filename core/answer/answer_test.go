package answer

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	expressPost   = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n<pre>Cannot POST /federation/removed</pre>\n</body>\n</html>\n"
	expressTrace  = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n<pre>SyntaxError: Unexpected token<br> &nbsp; &nbsp;at JSON.parse</pre>\n</body>\n</html>\n"
	expressTooBig = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>Error</title>\n</head>\n<body>\n<pre>PayloadTooLargeError: request entity too large</pre>\n</body>\n</html>\n"
	nginx502      = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx/1.24.0</center>\r\n</body>\r\n</html>\r\n"
	nginx413      = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
	cloudflare530 = "<!doctype html><html lang=\"en-US\"><head><title>Cloudflare Tunnel error | ben.example | Cloudflare</title></head><body>Error 1033</body></html>"
	cloudflare403 = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>challenge</body></html>"
	portal        = "<HTML><HEAD><TITLE>Welcome to Hotel WiFi</TITLE></HEAD><BODY><FORM action=/login></BODY></HTML>"
	ngrok404      = "<!DOCTYPE html><html><head><title>ngrok</title></head><body>The endpoint ben.ngrok.app is offline. ERR_NGROK_3200</body></html>"
	tailscale502  = "dial tcp 127.0.0.1:18790: connect: connection refused"
)

// TestJudge holds what each answer means, as gateways of each era, proxies, tunnels,
// hosters and captive pages give them.
func TestJudge(t *testing.T) {
	v2, again := Try{V2: true}, Try{V2: true, Again: true}
	tests := []struct {
		name   string
		to     Endpoint
		status int
		server string
		body   string
		try    Try
		want   Verdict
		said   string // the gateway's own words; empty: no gateway has spoken
		text   string // to be found in Text
	}{
		// Yes is a gateway's own.
		{"0.7 request", Request, 200, "", `{"received":true,"status":"pending","message":"Federation request received and pending approval"}`, Try{}, Yes, "", ""},
		{"0.7 already", Request, 200, "", `{"received":true,"status":"already-pending-or-approved","peerId":"302a"}`, Try{}, Yes, "", ""},
		{"approve", Approve, 200, "", `{"received":true}`, Try{}, Yes, "", ""},
		{"0.7 message", Message, 200, "", `{"success":true,"nonce":"n","response":{"received":true,"timestamp":"2026-11-21T20:12:53.035Z"}}`, Try{}, Yes, "", ""},
		{"message, success alone", Message, 200, "", `{"success":true}`, Try{}, Yes, "", ""},
		{"message, 202", Message, 202, "", `{"success":true}`, Try{}, Yes, "", ""},
		{"removed", Removed, 200, "", `{"success":true,"peerId":"302a","status":"removed"}`, Try{}, Yes, "", ""},
		{"reply", Reply, 200, "", `{"received":true}`, Try{}, Yes, "", ""},
		{"identity", Identity, 200, "", `{"updated":true,"message":"Identity updated successfully"}`, Try{}, Yes, "", ""},

		// A 2xx that no gateway gave is no yes.
		{"captive page", Message, 200, "", portal, Try{}, Wait, "", `a web page "Welcome to Hotel WiFi"`},
		{"captive page to a removal", Removed, 200, "Mikrotik", portal, Try{}, Wait, "", "from Mikrotik"},
		{"200 without a body", Message, 200, "", "", Try{}, Wait, "", "200 OK, without a body"},
		{"200 and white space", Message, 200, "", " \n", Try{}, Wait, "", "without a body"},
		{"200 to another message", Message, 200, "Varnish", `{"success":true,"nonce":"another"}`, Try{Nonce: "ours"}, Wait, "", "200 OK from Varnish, with the answer to another message"},
		{"200 to ours", Message, 200, "", `{"success":true,"nonce":"ours"}`, Try{Nonce: "ours"}, Yes, "", ""},
		{"200 with a nonce that is none", Message, 200, "", `{"success":true,"nonce":null}`, Try{Nonce: "ours"}, Yes, "", ""},
		{"200 packed", Message, 200, "", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03kV*.MNN-.V", Try{}, Wait, "", "200 OK, with something that is not text"},
		{"200 {}", Message, 200, "", "{}", Try{}, Wait, "", "JSON that is not the protocol's"},
		{"200 success:false", Message, 200, "", `{"success":false}`, Try{}, Wait, "", "200 OK"},
		{"200 success:false with a text", Message, 200, "", `{"success":false,"error":"Unknown peer"}`, Try{}, Wait, "", "200 OK"},
		{"200 success as text", Message, 200, "", `{"success":"true"}`, Try{}, Wait, "", ""},
		{"200 array", Message, 200, "", `[{"success":true}]`, Try{}, Wait, "", "JSON that is not the protocol's"},
		{"200 JSON cut short", Message, 200, "", `{"success":true,"nonce":"n`, Try{}, Wait, "", ""},
		{"204", Message, 204, "", "", Try{}, Wait, "", "204 No Content, without a body"},
		{"webhook sink", Message, 200, "", `{"ok":true}`, Try{}, Wait, "", ""},
		{"message's yes to a request", Request, 200, "", `{"success":true}`, Try{}, Wait, "", ""},
		{"request's yes to a message", Message, 200, "", `{"received":true}`, Try{}, Wait, "", ""},
		{"approve {}", Approve, 200, "", `{}`, Try{}, Wait, "", ""},
		{"identity received", Identity, 200, "", `{"received":true}`, Try{}, Wait, "", ""},

		// No is a gateway's own.
		{"0.7 not granted", Message, 403, "", `{"success":false,"error":"Intent 'x' not in granted scope","statusCode":403}`, Try{}, No, "Intent 'x' not in granted scope", "the peer answered 403: Intent 'x' not in granted scope"},
		{"0.2 unknown peer", Message, 403, "", `{"success":false,"error":"Unknown peer"}`, Try{}, No, "Unknown peer", ""},
		{"0.7 signature", Message, 401, "", `{"success":false,"error":"Invalid signature","statusCode":401}`, Try{}, No, "Invalid signature", ""},
		{"0.7 missing message", Message, 400, "", `{"error":"Missing message or signature"}`, Try{}, No, "Missing message or signature", ""},
		{"0.7 persona", Message, 404, "", `{"success":false,"error":"Unknown agent: 'x' is not a configured persona on this gateway","statusCode":404}`, Try{}, No, "Unknown agent: 'x' is not a configured persona on this gateway", ""},
		{"0.7 project", Message, 404, "", `{"success":false,"error":"Project 'p' not found","statusCode":404}`, Try{}, No, "Project 'p' not found", ""},
		{"0.7 topic off", Message, 403, "", `{"success":false,"error":"Nope!","statusCode":403,"response":{"status":"rejected","reason":"topic-not-permitted"}}`, Try{}, No, "Nope! (topic-not-permitted)", ""},
		{"a stranger's 401 without the shape", Message, 401, "", `{"error":"Invalid signature"}`, Try{}, Wait, "", `401 Unauthorized, "Invalid signature"`},
		{"the same where v2 was shown", Message, 401, "", `{"error":"Invalid signature"}`, v2, Wait, "", ""},
		{"a webhook receiver", Removed, 403, "", `{"error":"Unknown peer"}`, Try{}, Wait, "", ""},
		{"a stranger's validation", Message, 400, "", `{"error":"Invalid request"}`, Try{}, Wait, "", ""},
		{"a stranger's validation of an approval", Approve, 400, "", `{"error":"Invalid request"}`, Try{}, Wait, "", ""},
		{"a stranger's 415", Identity, 415, "", `{"error":"Unsupported media type"}`, Try{}, Wait, "", ""},
		{"a stranger's validation, where v2 was shown", Message, 400, "", `{"error":"Invalid request"}`, v2, Wait, "", ""},
		{"a stranger's 404 with a text of the field", Message, 404, "", `{"error":"Unknown peer"}`, Try{}, Wait, "", ""},
		{"ours, an approval", Approve, 400, "", `{"error":"Invalid approval"}`, v2, No, "Invalid approval", ""},
		{"ours, a first request", Request, 403, "", `{"error":"Federation request refused"}`, Try{}, No, "Federation request refused", ""},
		{"ours, too large", Message, 413, "", `{"error":"Request body too large"}`, v2, No, "Request body too large", ""},
		{"ours, policy", Message, 403, "", `{"success":false,"error":"Message refused by policy","statusCode":403,"response":{"status":"rejected","reason":"policy","message":"too late at night"}}`, v2, No, "Message refused by policy (too late at night)", ""},
		{"0.7 removal of a stranger", Removed, 404, "", `{"success":false,"error":"Unknown peer"}`, Try{}, No, "Unknown peer", ""},
		{"0.7 removal signature", Removed, 403, "", `{"success":false,"error":"Invalid signature"}`, Try{}, No, "Invalid signature", ""},
		{"0.7 request form", Request, 400, "", `{"error":"Missing payloadStr or signature"}`, Try{}, No, "Missing payloadStr or signature", ""},
		{"0.7 request stale", Request, 401, "", `{"error":"Signature verification failed: stale-timestamp"}`, Try{}, No, "Signature verification failed: stale-timestamp", ""},
		{"approve, other key", Approve, 403, "", `{"error":"fromPublicKey does not match stored peer publicKey"}`, Try{}, No, "fromPublicKey does not match stored peer publicKey", ""},
		{"reply not expected", Reply, 404, "", `{"error":"No reply is expected under this nonce"}`, v2, No, "No reply is expected under this nonce", ""},
		{"0.7 reply signature", Reply, 401, "", `{"error":"Invalid signature"}`, Try{}, No, "Invalid signature", ""},
		{"0.7 identity of a stranger", Identity, 404, "", `{"error":"Peer not found - no existing federation"}`, Try{}, No, "Peer not found - no existing federation", ""},

		// A stranger's no is nobody's.
		{"stranger's 404", Message, 404, "", `{"error":"Not Found"}`, Try{}, Wait, "", `404 Not Found, "Not Found"`},
		{"stranger's 404 with success", Message, 404, "", `{"success":false,"error":"Not Found"}`, Try{}, Wait, "Not Found", ""},
		{"stranger's 404 object", Message, 404, "", `{"error":{"message":"no route"}}`, Try{}, Wait, "", "404"},
		{"stranger's 403", Message, 403, "", `{"error":"Forbidden"}`, Try{}, Wait, "", ""},
		{"stranger's 400", Request, 400, "", `{"error":"Bad Request"}`, Try{}, Wait, "", ""},
		{"OpenClaw behind the URL", Message, 403, "", `{"error":{"message":"Proxy client attribution is required","type":"proxy_attribution_required"}}`, Try{}, Wait, "", ""},
		{"our own router, 404", Message, 404, "", `{"error":"Not found"}`, Try{}, Wait, "", ""},
		{"our own router, 405", Message, 405, "", `{"error":"Method not allowed"}`, Try{}, Wait, "", ""},
		{"basic auth", Message, 401, "nginx", "<html><head><title>401 Authorization Required</title></head></html>", Try{}, Wait, "", `401 Unauthorized from nginx, a web page "401 Authorization Required"`},
		{"access login as JSON", Request, 401, "cloudflare", `{"error":"unauthorized","login_url":"/cdn-cgi/access"}`, Try{}, Wait, "", "from cloudflare"},
		{"web firewall", Message, 403, "cloudflare", cloudflare403, Try{}, Wait, "", `"Just a moment..."`},
		{"tunnel off", Message, 404, "", ngrok404, Try{}, Wait, "", `"ngrok"`},
		{"405 of a static site", Message, 405, "GitHub.com", "<html><title>405 Not Allowed</title></html>", Try{}, Wait, "", "GitHub.com"},
		{"413 of nginx", Message, 413, "nginx", nginx413, Try{}, Wait, "", "413"},
		{"413 of Express", Message, 413, "", expressTooBig, Try{}, Wait, "", "413"},
		{"400 of Express with a trace", Message, 400, "", expressTrace, Try{}, Wait, "", "400 Bad Request"},
		{"400 plain HTTP to TLS", Message, 400, "nginx", "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>", Try{}, Wait, "", "plain HTTP request"},
		{"421", Message, 421, "", `{"success":false,"error":"Misdirected"}`, Try{}, Wait, "Misdirected", ""},
		{"407", Message, 407, "squid", "", Try{}, Wait, "", "407"},
		{"451", Message, 451, "", "blocked by order", Try{}, Wait, "", "blocked by order"},

		// Not now.
		{"408", Message, 408, "", `{"success":false,"error":"Request timeout"}`, Try{}, Wait, "Request timeout", ""},
		{"425", Message, 425, "", "", Try{}, Wait, "", "425"},
		{"0.7 rate", Message, 429, "", `{"success":false,"error":"Rate limit exceeded for intent 'message'","statusCode":429,"retryAfter":12}`, Try{}, Wait, "Rate limit exceeded for intent 'message'", "429: Rate limit"},
		{"0.2 rate", Message, 429, "", `{"success":false,"error":"Rate limit exceeded for intent 'message'"}`, Try{}, Wait, "Rate limit exceeded for intent 'message'", ""},
		{"approval too early", Approve, 404, "", `{"error":"No pending peer found"}`, Try{}, Wait, NoPending, ""},
		{"0.7 failure", Message, 500, "", `{"error":"Internal server error"}`, Try{}, Wait, "Internal server error", "the peer answered 500"},
		{"ours, disk", Message, 503, "", `{"success":false,"error":"Cannot store now","statusCode":503,"retryAfter":30}`, v2, Wait, "Cannot store now", ""},
		{"ours, full", Removed, 507, "", `{"success":false,"error":"No space to store it"}`, v2, Wait, "No space to store it", ""},

		// Statuses that only something between gives.
		{"502", Message, 502, "nginx/1.24.0", nginx502, Try{}, Wait, "", `502 Bad Gateway from nginx/1.24.0, a web page "502 Bad Gateway"`},
		{"502 of tailscale", Message, 502, "", tailscale502, Try{}, Wait, "", "connection refused"},
		{"503 of haproxy", Message, 503, "", "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n", Try{}, Wait, "", "503"},
		{"504", Message, 504, "", "", Try{}, Wait, "", "504 Gateway Timeout"},
		{"501", Message, 501, "", "", Try{}, Wait, "", "501"},
		{"505", Message, 505, "", "", Try{}, Wait, "", "505"},
		{"508", Message, 508, "", "", Try{}, Wait, "", "508"},
		{"509", Message, 509, "", "Bandwidth Limit Exceeded", Try{}, Wait, "", "509"},
		{"511", Message, 511, "", "", Try{}, Wait, "", "511"},
		{"520", Message, 520, "cloudflare", "", Try{}, Wait, "", "520 from cloudflare"},
		{"521", Message, 521, "cloudflare", "error code: 521", Try{}, Wait, "", `"error code: 521"`},
		{"522", Message, 522, "cloudflare", "error code: 522", Try{}, Wait, "", "522"},
		{"524", Message, 524, "cloudflare", "", Try{}, Wait, "", "524"},
		{"530", Message, 530, "cloudflare", cloudflare530, Try{}, Wait, "", `530 from cloudflare, a web page "Cloudflare Tunnel error | ben.example | Cloudflare"`},
		{"598", Message, 598, "", "", Try{}, Wait, "", "598"},
		{"304", Message, 304, "", "", Try{}, Wait, "", "304"},

		// No such endpoint.
		{"0.2.20 removed", Removed, 404, "", expressPost, Try{}, NoEndpoint, "", "404 Cannot POST /federation/removed"},
		{"0.4 identity", Identity, 404, "", strings.Replace(expressPost, "removed", "update-identity", 1), Try{}, NoEndpoint, "", "update-identity"},
		{"another route's page", Message, 404, "", expressPost, Try{}, Wait, "", "404"},

		// 409 is "it has it" only from a peer with v2, for what was tried before.
		{"409 of v2, again", Message, 409, "", `{"success":false,"error":"Nonce already used for another message","statusCode":409}`, again, Yes, "", ""},
		{"409 of v2, first try", Message, 409, "", `{"success":false,"error":"Nonce already used for another message","statusCode":409}`, v2, No, "Nonce already used for another message", ""},
		{"409 without v2, again", Message, 409, "", `{"success":false,"error":"Nonce already used for another message"}`, Try{Again: true}, No, "Nonce already used for another message", ""},
		{"409 of a proxy, again", Message, 409, "", "conflict", again, Wait, "", "409"},
		{"409 of a second reply", Reply, 409, "", `{"error":"A different reply was received already"}`, again, No, "A different reply was received already", ""},
	}
	if len(tests) < 40 {
		t.Fatalf("%d answers, want at least 40", len(tests))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Judge(tt.to, core.Answer{Status: tt.status, Body: []byte(tt.body), Server: tt.server}, tt.try)
			if got.Verdict != tt.want || got.Said != tt.said {
				t.Errorf("Judge = %s, said %q, want %s, %q\n%+v", got.Verdict, got.Said, tt.want, tt.said, got)
			}
			if !strings.Contains(got.Text, tt.text) || got.Text == "" || strings.HasSuffix(strings.TrimSpace(got.Text), ":") || strings.ContainsAny(got.Text, "\r\n<>") {
				t.Errorf("Text = %q, want %q in it", got.Text, tt.text)
			}
			want := core.Refused
			if tt.want == Wait && tt.said == "" {
				want = core.Unreachable
			}
			if err := got.Err(); tt.want == Yes && err != nil || tt.want != Yes && !errors.Is(err, want) {
				t.Errorf("Err = %v, want kind %v", err, want)
			}
		})
	}
}

// TestJudgeStale: an envelope that is refused as stale names the clocks' difference.
func TestJudgeStale(t *testing.T) {
	now := time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		date time.Time
		want string
	}{
		{now.Add(-432 * time.Second), "our clock is 7m12s ahead of the one there"},
		{now.Add(2 * time.Hour), "our clock is 2h0m0s behind the one there"},
		{now.Add(time.Second), "its clock and ours agree"},
		{time.Time{}, "stale timestamp"},
	} {
		a := core.Answer{Status: 400, Body: []byte(`{"success":false,"error":"Invalid or stale timestamp"}`), Date: tt.date}
		got := Judge(Message, a, Try{Now: now})
		if got.Verdict != No || !got.Stale || got.Hint == "" || !strings.Contains(got.Text, tt.want) {
			t.Errorf("Judge = %+v, want a stale no with %q", got, tt.want)
		}
	}
}

// TestJudgeText: what stands in another's answer never breaks a line of ours.
func TestJudgeText(t *testing.T) {
	for _, body := range []string{"\x1b[31mred", "a\u202eb", "{\"error\":\"x\\u0000\\n:\"}", strings.Repeat("long ", 1000), "\xff\xfe\x00"} {
		got := Judge(Message, core.Answer{Status: http.StatusTeapot, Body: []byte(body), Server: "evil\x1b]0;\u202e" + strings.Repeat("s", 500)}, Try{})
		if len(got.Text) > 400 || strings.ContainsAny(got.Text, "\x1b\u202e\x00\n\ufffd") || strings.HasSuffix(got.Text, ":") {
			t.Errorf("Text = %q", got.Text)
		}
	}
}

// A hint names what is to be typed in full, or no command.
func TestJudgeHint(t *testing.T) {
	page := core.Answer{Status: http.StatusOK, Body: []byte("<html>")}
	for peer, want := range map[string]string{"ben": `check it with "ogp federation ping ben"`, "": "or another service"} {
		if got := Judge(Message, page, Try{Peer: peer}); !strings.HasSuffix(got.Hint, want) {
			t.Errorf("Hint = %q, want %q at its end", got.Hint, want)
		}
	}
}
