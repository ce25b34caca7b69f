package keys_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"filippo.io/edwards25519"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// thrice is Verify for a key that comes the first time, again, and that is known, which
// are to be of one mind with crypto/ed25519.
func thrice(t *testing.T, k core.PublicKey, text []byte, sig [64]byte) bool {
	t.Helper()
	want := ed25519.Verify(k[:], text, sig[:])
	for range 3 {
		if got := keys.Verify(k, text, sig); got != want {
			t.Errorf("Verify(%x, %q, %x) = %v, crypto/ed25519 says %v", k[:], text, sig[:], got, want)
		}
	}
	return want
}

// oddPoints are encodings at the edges: points of low order, y not below p, x = 0 with a
// sign, and what is no point, each with either sign.
func oddPoints(t *testing.T) (out [][32]byte) {
	for _, text := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0200000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"5866666666666666666666666666666666666666666666666666666666666666",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		plain, signed := [32]byte(b), [32]byte(b)
		signed[31] |= 0x80
		out = append(out, plain, signed)
	}
	return out
}

// TestK1KnownKeysAreVerifiedAsOthers: a decoded key gives the verdicts of the standard
// library, for every pair of odd keys and odd points R, with several S and texts. Of
// texts there are several, as for a key of low order the text decides.
func TestK1KnownKeysAreVerifiedAsOthers(t *testing.T) {
	points := oddPoints(t)
	one := make([]byte, 32)
	one[0] = 1
	scalars := [][]byte{make([]byte, 32), one, scalar(t, order), slices.Repeat([]byte{0xff}, 32)}
	good, bad := 0, 0
	for _, a := range points {
		for _, r := range points {
			for _, s := range scalars {
				for n := range 8 {
					if thrice(t, core.PublicKey(a), fmt.Append(nil, n), [64]byte(slices.Concat(r[:], s))) {
						good++
					} else {
						bad++
					}
				}
			}
		}
	}
	if good < 50 || bad < 5000 {
		t.Errorf("%d hold and %d do not: want 50 and 5000 at least", good, bad)
	}
}

// TestK1MixedOrder: a key or an R with a part of low order, correctly signed but for
// that part: with a cofactor it would hold, and without one it holds by the text alone.
func TestK1MixedOrder(t *testing.T) {
	torsion, err := new(edwards25519.Point).SetBytes(mustHex(t, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))
	if err != nil {
		t.Fatal(err)
	}
	held := map[bool]int{}
	for n := range 64 {
		k := keys.Generate()
		public := k.Public()
		a, err := new(edwards25519.Point).SetBytes(public[:])
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Append(nil, n)
		sig := mustHex(t, k.Signature(text))
		held[thrice(t, public, text, [64]byte(sig))]++
		held[thrice(t, core.PublicKey(a.Add(a, torsion).Bytes()), text, [64]byte(sig))]++
	}
	if held[true] < 64 || held[false] < 32 {
		t.Errorf("held: %v", held)
	}
}

// FuzzVerify: whatever the key, the text and the signature are, and whether or not the
// key is known, the verdict is that of crypto/ed25519.
func FuzzVerify(f *testing.F) {
	k := keys.Generate()
	public := k.Public()
	sig, err := hex.DecodeString(k.Signature([]byte("text")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(public[:], []byte("text"), sig)
	f.Add(make([]byte, 32), []byte{}, make([]byte, 64))
	f.Fuzz(func(t *testing.T, key, text, sig []byte) {
		if len(key) == 32 && len(sig) == 64 {
			thrice(t, core.PublicKey(key), text, [64]byte(sig))
		}
	})
}

// BenchmarkVerifyByKey is what a signature costs by its key: one that is known, one of so many
// that none is kept, in parts of what the standard library takes for the same.
func BenchmarkVerifyByKey(b *testing.B) {
	const many = 20000
	text := slices.Repeat([]byte("text"), 75)
	all := make([]core.PublicKey, many)
	sigs := make([][64]byte, many)
	for i := range all {
		k := keys.Generate()
		sig, _ := hex.DecodeString(k.Signature(text))
		all[i], sigs[i] = k.Public(), [64]byte(sig)
	}
	for _, n := range []int{1, 1000, many} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			var ours, standard time.Duration
			for i := range b.N { // in turn, so that both meet the same machine
				k, sig := all[i%n], sigs[i%n]
				start := time.Now()
				held := keys.Verify(k, text, sig)
				between := time.Now()
				want := ed25519.Verify(k[:], text, sig[:])
				ours, standard = ours+between.Sub(start), standard+time.Since(between)
				if !held || !want {
					b.Fatal("no")
				}
			}
			b.ReportMetric(float64(ours)/float64(standard), "of-standard")
		})
	}
}
