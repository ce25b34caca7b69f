// Package sdk is what a plugin of ogp is written with. A policy is a function from an
// [Incoming] message to a [Decision], or from a stranger's [Request] to an [Approval]; a
// notifier is one from an [Event] to an [Outcome], a handler one from an [Incoming] message
// to an [Answer].
//
// A plugin is a Go program that names its functions in init, because a WebAssembly
// reactor never runs main:
//
//	package main
//
//	import (
//		"github.com/opengatewayprotocol/ogp/sdk"
//		"github.com/opengatewayprotocol/ogp/sdk/policy"
//	)
//
//	func init() { policy.OnMessage(decide) }
//
//	func main() { sdk.Main() }
//
//	func decide(in *sdk.Incoming) sdk.Decision {
//		if in.Message.TextBytes > 4096 {
//			return sdk.Deny("too_big", "at most 4096 bytes, please")
//		}
//		return sdk.Allow()
//	}
//
// Build it with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags="-s -w -buildid=" -o x.wasm .
//
// and the module exports the hook of each package it imports of sdk/policy, sdk/notify
// and sdk/handle. Built natively, the same program reads a case from standard input and
// prints the answer: go run . < cases/big.json.
//
// The package has its own JSON decoder and encoder and keeps away from encoding/json,
// fmt, net/http and reflect, so that a module stays under 2 MiB and a policy's call under
// 30 us. It uses nothing that TinyGo lacks. A plugin's functions are called one at a
// time; nothing here is safe for concurrent use, and nothing needs to be.
//
// The boundary itself is written down in ABI.md.
package sdk
