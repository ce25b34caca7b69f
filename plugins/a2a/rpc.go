package main

import "github.com/opengatewayprotocol/ogp/sdk"

// Codes of JSON-RPC and A2A errors.
const (
	taskNotFound = -32001
	busy         = -32000 // the server's own; OpenClaw's for too many requests
	noMethod     = -32601
)

// refusal is a call that gave no result.
type refusal struct {
	code int64 // of the JSON-RPC error; 0: there is none
	text string
	http sdk.Outcome // where there is no JSON-RPC answer
}

func (r *refusal) outcome() sdk.Outcome {
	switch {
	case r.code == 0:
		return r.http
	case r.code == noMethod:
		return sdk.SetUp("the agent knows no such method: " + r.text + " - it must speak A2A 1.0 over JSON-RPC")
	case r.code == -32602 || r.code == -32005: // parameters, content type
		return sdk.Failed("the agent does not take this message: " + r.text + " - its limits may be raised there")
	}
	return sdk.Retry(20, "the agent's server answered "+number(r.code)+": "+r.text)
}

// call makes one JSON-RPC call.
func call(method, id string, params *sdk.Object) (sdk.Value, *refusal) {
	headers := []string{"Content-Type", "application/json", "A2A-Version", "1.0"}
	switch has, err := sdk.HasSecret("a2a_token"); {
	case err != nil:
		return sdk.Value{}, &refusal{http: sdk.SetUp("cannot say whether there is an a2a_token: " + err.Error())}
	case has:
		headers = append(headers, "Authorization", "Bearer {secret:a2a_token}")
	}
	body := new(sdk.Object).Text("jsonrpc", "2.0").Text("id", id).Text("method", method).Object("params", params)
	r, err := sdk.HTTP(sdk.HTTPRequest{Method: "POST", URL: conf.url, Headers: headers, Body: body.JSON(), TimeoutMs: 30_000})
	if o := sdk.OutcomeOf(r, err); o.Status != sdk.StatusDelivered {
		return sdk.Value{}, &refusal{http: o}
	}
	v, err := sdk.Parse(r.Body)
	if err != nil || v.Kind() != sdk.Map {
		return sdk.Value{}, &refusal{http: sdk.SetUp("its answer is no JSON-RPC - does the url lead to an A2A agent's JSON-RPC endpoint?")}
	}
	if e := v.Get("error"); e.Kind() == sdk.Map {
		code := e.Get("code").Int()
		if code == 0 {
			code = busy
		}
		return sdk.Value{}, &refusal{code: code, text: sdk.Line(e.Get("message").Text(), 200)}
	}
	if v.Get("result").Kind() != sdk.Map {
		return sdk.Value{}, &refusal{http: sdk.SetUp("its answer has neither result nor error - does the url lead to an A2A agent's JSON-RPC endpoint?")}
	}
	return v.Get("result"), nil
}
