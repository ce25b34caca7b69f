// Package policy makes a module a policy: it exports ogp_policy. Import it from a plugin
// that decides, and call Is in init.
package policy

import "github.com/opengatewayprotocol/ogp/sdk"

// Is makes f the policy of this module. It is called one request at a time.
func Is(f func(*sdk.Request) sdk.Decision) { sdk.SetPolicy(f) }

//go:wasmexport ogp_policy
func export(n int32) int32 { return sdk.Serve(sdk.HookPolicy, n) }

var _ = export
