//go:build !ogp_stdverify

package keys

import (
	"hash/maphash"
	"sync"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	// maxDecoded bounds the keys that are kept decoded, of 1.6 KiB each.
	maxDecoded = 4096
	// maxOnce is how many keys that came once are remembered, by a part of their hash.
	maxOnce = 8192
)

// asStandard gives the verdicts of crypto/ed25519.
var asStandard = &voi.Options{Verify: voi.VerifyOptionsStdLib}

// decoded are the keys that have come twice of late. One that comes once, as strangers'
// keys do, puts out nobody's.
var decoded struct {
	sync.RWMutex
	keys map[core.PublicKey]*voi.ExpandedPublicKey
	once [maxOnce]uint32
}

var seed = maphash.MakeSeed()

// verifyKnown is Verify for a key that is kept decoded, or that comes again.
func verifyKnown(k core.PublicKey, text []byte, sig *[64]byte) (holds, known bool) {
	decoded.RLock()
	key := decoded.keys[k]
	decoded.RUnlock()
	if key == nil {
		if key = decode2nd(k); key == nil {
			return false, false
		}
	}
	return voi.VerifyExpandedWithOptions(key, text, sig[:], asStandard), true
}

// decode2nd decodes and keeps a key that has come before; nil for one that has not, or
// is none.
func decode2nd(k core.PublicKey) *voi.ExpandedPublicKey {
	h := maphash.Bytes(seed, k[:])
	place, mark := h%maxOnce, uint32(h>>32)|1
	decoded.Lock()
	again := decoded.once[place] == mark
	decoded.once[place] = mark
	decoded.Unlock()
	if !again {
		return nil
	}
	key, err := voi.NewExpandedPublicKey(k[:])
	if err != nil {
		return nil
	}
	decoded.Lock()
	defer decoded.Unlock()
	if decoded.keys == nil {
		decoded.keys = map[core.PublicKey]*voi.ExpandedPublicKey{}
	}
	for other := range decoded.keys { // any, if there is no room
		if len(decoded.keys) < maxDecoded {
			break
		}
		delete(decoded.keys, other)
	}
	decoded.keys[k] = key
	return key
}
