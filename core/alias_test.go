package core

import (
	"strings"
	"testing"
)

// What names a key could name one: nobody is compared with every peer for nothing.
func TestNamesKey(t *testing.T) {
	k := PublicKey{1, 2, 3, 31: 9}
	for _, ref := range []string{k.String(), strings.ToUpper(k.String()), k.String()[len(SPKIPrefix):], k.ID(), k.Fingerprint(), strings.ToLower(k.Fingerprint()), strings.ReplaceAll(k.Fingerprint(), "-", ""), "-" + k.Fingerprint()} {
		if !k.Named(ref) || !NamesKey(ref) {
			t.Errorf("%q: named %v, could be %v", ref, k.Named(ref), NamesKey(ref))
		}
	}
	for _, ref := range []string{"", "alice", "peer-00017", "gateway-of-alice", k.Fingerprint()[:19]} {
		if NamesKey(ref) {
			t.Errorf("%q could be a key's name", ref)
		}
	}
}
