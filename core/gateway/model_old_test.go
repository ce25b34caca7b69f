package gateway_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
)

// What the model has of gateways before v2, which behave as their sources do.

// addOld puts an old gateway in b's place.
func (w *world) addOld(era coretest.Era, gatewayURL string) {
	w.old = coretest.LegacyOn(w.t, era, gatewayURL, carrier{w})
	w.old.Pause = func() { time.Sleep(time.Second) }
	if era != coretest.S { // one that cannot tell two friends apart
		k := w.a.mallory.key.String()
		w.old.SetPeer(coretest.LegacyPeer{ID: k[:32], PublicKey: k, URL: "http://mallory.example", Status: "approved"})
	}
}

func (w *world) isOld(url string) bool { return w.old != nil && url == w.old.URL }

// toOld is the old gateway's server.
func (w *world) toOld(method, path string, body []byte) core.Answer {
	r := httptest.NewRecorder()
	w.old.ServeHTTP(r, httptest.NewRequest(method, path, bytes.NewReader(body)))
	return core.Answer{Status: r.Code, Body: r.Body.Bytes()}
}

func (w *world) oldCard() (c core.Card) {
	_ = json.Unmarshal(w.toOld(http.MethodGet, "/.well-known/ogp", nil).Body, &c)
	return c
}

// carrier is the old gateway's way to the others.
type carrier struct{ w *world }

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	w := c.w
	w.mu.Lock()
	if r.Method == http.MethodPost {
		w.held = append(w.held, held{r.URL.Path, body})
	}
	broken := w.broken
	w.mu.Unlock()
	answer := core.Answer{Status: 200, Body: []byte(`{"received":true,"success":true,"updated":true}`)}
	if to := w.at((&url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host}).String()); to != nil {
		if broken {
			return nil, errSilent
		}
		if r.Method == http.MethodGet {
			card, err := json.Marshal(to.Card("", "", ""))
			if err != nil {
				return nil, err
			}
			answer.Body = card
		} else {
			answer = to.receive(context.WithoutCancel(r.Context()), r.URL.Path, body)
		}
	}
	return &http.Response{StatusCode: answer.Status, Header: http.Header{}, Request: r, Body: io.NopCloser(bytes.NewReader(answer.Body))}, nil
}

// oldOperator is b's operator with the old command line.
func (w *world) oldOperator(what string) {
	k := w.a.Key()
	status := w.old.Peer(k).Status
	switch {
	case what == "request":
		w.old.Request(w.a.url)
	case what == "approve" && status != "":
		w.old.Approve(k)
	case what == "remove" && status != "":
		w.old.Remove(k)
	case what == "reject" && status == "pending":
		w.old.Reject(k)
	case what == "send" && status == "approved":
		w.old.Send(k, core.IntentMessage, `{"text":"hi"}`, false)
	}
}

// oldMischief is what mallory can do at a with what an old b says to its friends, or with
// what b's era does not sign.
func (w *world) oldMischief(what string, to func(path string, body []byte)) {
	switch {
	case what == "heartbeat" && w.old.Era != coretest.H && w.old.Era != coretest.S: // every five minutes
		to(core.PathRemoved, []byte(w.old.RemovalBody()))
	case what == "unsigned": // one for nobody, or for mallory
		to(core.PathApprove, []byte(w.old.ApprovalBody(coretest.LegacyPeer{ID: w.a.mallory.key.String()[:32]}, !w.old.Era.Signed())))
	case what == "carry": // b has asked mallory
		to(core.PathRequest, []byte(w.old.RequestBody()))
	}
}
