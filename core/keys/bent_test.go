package keys_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"

	"filippo.io/edwards25519"

	"github.com/opengatewayprotocol/ogp/core/keys"
)

// order is that of the base point, RFC 8032 §5.1.
var order, _ = new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)

// TestK1BentSignatures: what the published vectors bend, bent by ourselves, so that
// it runs without them: a second writing of S, a point with a part of low order, a
// point that is written in a way that is not canonical.
func TestK1BentSignatures(t *testing.T) {
	k := keys.Generate()
	text := []byte(`{"bent":false}`)
	whole, err := hex.DecodeString(k.Signature(text))
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(reversed(whole[32:]))
	low, err := new(edwards25519.Point).SetBytes(mustHex(t, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")) // of order 8
	if err != nil {
		t.Fatal(err)
	}
	r, err := new(edwards25519.Point).SetBytes(whole[:32])
	if err != nil {
		t.Fatal(err)
	}
	identityInTwoWays := mustHex(t, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f") // y = p+1
	for what, bent := range map[string][]byte{
		"as it is":                 nil,
		"S + L":                    append(slices.Clone(whole[:32]), scalar(t, new(big.Int).Add(s, order))...),
		"L - S":                    append(slices.Clone(whole[:32]), scalar(t, new(big.Int).Sub(order, s))...),
		"S = 0":                    append(slices.Clone(whole[:32]), make([]byte, 32)...),
		"R with a part of order 8": append(new(edwards25519.Point).Add(r, low).Bytes(), whole[32:]...),
		"R of order 8":             append(low.Bytes(), whole[32:]...),
		"R not canonical":          append(slices.Clone(identityInTwoWays), whole[32:]...),
		"R no point":               append(mustHex(t, "0200000000000000000000000000000000000000000000000000000000000000"), whole[32:]...),
		"both halves swapped":      append(slices.Clone(whole[32:]), whole[:32]...),
	} {
		if bent == nil {
			bent = whole
		}
		key := k.Public()
		got := keys.Verify(key, text, [64]byte(bent))
		if want := ed25519.Verify(key[:], text, bent); got != want || got != (what == "as it is") {
			t.Errorf("%s: Verify = %v, crypto/ed25519 %v", what, got, want)
		}
	}
}

func reversed(b []byte) []byte {
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}

// scalar writes a number as 32 bytes, the lowest first.
func scalar(t *testing.T, n *big.Int) []byte {
	t.Helper()
	if n.BitLen() > 256 {
		t.Fatal("more than 32 bytes")
	}
	return reversed(n.FillBytes(make([]byte, 32)))
}

func mustHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
