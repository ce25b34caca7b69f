// Package policy makes a module a policy: it exports ogp_message and ogp_request. Import
// it from a plugin that decides, and call OnMessage, OnRequest or both in init. The hooks
// of plugin.toml say which of them the gateway asks.
package policy

import "github.com/opengatewayprotocol/ogp/sdk"

// OnMessage makes f decide about messages of approved peers. It is called one message at
// a time.
func OnMessage(f func(*sdk.Incoming) sdk.Decision) { sdk.SetMessagePolicy(f) }

// OnRequest makes f decide about requests of strangers to federate. It is called one
// request at a time. Only with approves = true in the manifest, and the operator's grant,
// can it approve one.
func OnRequest(f func(*sdk.Request) sdk.Approval) { sdk.SetRequestPolicy(f) }

//go:wasmexport ogp_message
func message(n int32) int32 { return sdk.Serve(sdk.HookMessage, n) }

//go:wasmexport ogp_request
func request(n int32) int32 { return sdk.Serve(sdk.HookRequest, n) }

var _, _ = message, request
