package core_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// The words are those of the first twelve bytes of the hash whose beginning the printed
// fingerprint is, and no word stands for two values.
func TestFingerprintWords(t *testing.T) {
	k := core.PublicKey{1, 2, 3}
	words := k.FingerprintWords()
	if len(words) != 12 {
		t.Fatalf("%d words", len(words))
	}
	other := core.PublicKey{1, 2, 4}
	if slices.Equal(words, other.FingerprintWords()) {
		t.Error("another key has the same words")
	}
	seen := map[string]bool{}
	for i := range 4000 {
		for place, w := range (core.PublicKey{byte(i), byte(i >> 8)}).FingerprintWords() {
			seen[w+strings.Repeat(" ", place%2)] = true
		}
	}
	if len(seen) != 2*256 {
		t.Errorf("%d words in all, want 512", len(seen))
	}
}
