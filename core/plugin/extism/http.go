package extism

import (
	"encoding/base64"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
)

// texts gives the members of the configuration as Extism's are: texts. What is none is as it is written.
func texts(config []byte) (map[string]string, error) {
	var all map[string]jsontext.Value
	if err := json.Unmarshal(config, &all); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, v := range all {
		text := string(v)
		if v.Kind() == '"' {
			if err := json.Unmarshal(v, &text); err != nil {
				return nil, err
			}
		}
		if v.Kind() != 'n' {
			out[name] = text
		}
	}
	return out, nil
}

// The host reads no more of a request, in bytes: it would take memory and time that are the gateway's.
const (
	maxHead = 256 << 10
	maxBody = 1 << 20
)

// httpRequest makes a request where a grant allows it. What is refused or does not come about ends the call as one
// that failed: Extism has no other word for it.
func httpRequest(p *plugin, s []uint64) {
	var asked struct {
		URL     string            `json:"url"`
		Method  string            `json:"method"`
		Headers map[string]string `json:"headers"`
		Header  map[string]string `json:"header"` // of older PDKs
	}
	if head, body := p.blocks[s[0]], p.blocks[s[1]]; head > maxHead || body > maxBody {
		guest.Stop(guest.Limit, "http_request: a request of %d bytes and a body of %d, at most %d and %d", head, body, maxHead, maxBody)
	}
	if err := json.Unmarshal(p.block("http_request", s[0]), &asked); err != nil {
		guest.Stop(guest.Failed, "http_request: a request that is not Extism's: %v", err)
	}
	request := struct {
		Method     string            `json:"method,omitzero"`
		URL        string            `json:"url"`
		Headers    map[string]string `json:"headers,omitzero"`
		Body       *string           `json:"body,omitzero"`
		BodyBase64 *string           `json:"bodyBase64,omitzero"`
	}{Method: asked.Method, URL: asked.URL, Headers: asked.Headers}
	if request.Headers == nil {
		request.Headers = asked.Header
	}
	if s[1] != 0 {
		body := string(p.block("http_request", s[1]))
		if utf8.ValidString(body) {
			request.Body = &body
		} else {
			body = base64.StdEncoding.EncodeToString([]byte(body))
			request.BodyBase64 = &body
		}
	}
	text, err := json.Marshal(request, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		guest.Stop(guest.Failed, "http_request: %v", err)
	}
	result, code, why := p.h.Operate("http.request", text)
	if code < 0 {
		guest.Stop(guest.Failed, "http_request: %s", why)
	}
	var answer struct {
		Status     uint64         `json:"status"`
		Headers    jsontext.Value `json:"headers"`
		Body       string         `json:"body"`
		BodyBase64 []byte         `json:"bodyBase64"`
	}
	if err := json.Unmarshal(result, &answer); err != nil {
		guest.Stop(guest.Failed, "http_request: %v", err)
	}
	p.status = answer.Status
	p.header = p.give("http_headers", answer.Headers)
	body := []byte(answer.Body)
	if len(answer.BodyBase64) > 0 {
		body = answer.BodyBase64
	}
	s[0] = p.give("http_request", body)
}
