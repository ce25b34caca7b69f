// Package handle makes a module a handler: it exports ogp_handle. Import it from a plugin
// that answers intents, and call Is in init.
package handle

import "github.com/opengatewayprotocol/ogp/sdk"

// Is makes f the handler of this module. It is called one message at a time.
func Is(f func(*sdk.Incoming) sdk.Answer) { sdk.SetHandler(f) }

//go:wasmexport ogp_handle
func export(n int32) int32 { return sdk.Serve(sdk.HookHandle, n) }

var _ = export
