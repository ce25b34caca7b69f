//go:build !amd64 || ogp_stdverify

package keys

import "github.com/opengatewayprotocol/ogp/core"

// verifyKnown knows no key.
func verifyKnown(core.PublicKey, []byte, *[64]byte) (holds, known bool) { return false, false }
