package keys_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// aliceHex is RFC 8032 §7.1 test 1's public key.
const aliceHex = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

func raw(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestK1ParseReadsEveryAllowedForm(t *testing.T) {
	// All but the first bytes make base64 that needs both special characters.
	special := core.PublicKey{}
	for p := keys.Generate(); ; p = keys.Generate() {
		special = p.Public()
		if text := base64.RawStdEncoding.EncodeToString(special[:]); strings.Contains(text, "+") && strings.Contains(text, "/") {
			break
		}
	}
	for _, want := range []core.PublicKey{core.PublicKey(raw(t, aliceHex)), special} {
		forms := map[string]string{
			"spki":           want.String(),
			"SPKI":           strings.ToUpper(want.String()),
			"Spki":           core.SPKIPrefix + strings.ToUpper(want.String()[len(core.SPKIPrefix):]),
			"hex":            hex.EncodeToString(want[:]),
			"HEX":            strings.ToUpper(hex.EncodeToString(want[:])),
			"base64":         base64.StdEncoding.EncodeToString(want[:]),
			"base64 raw":     base64.RawStdEncoding.EncodeToString(want[:]),
			"base64 url":     base64.URLEncoding.EncodeToString(want[:]),
			"base64 url raw": base64.RawURLEncoding.EncodeToString(want[:]),
		}
		for name, text := range forms {
			if got, err := keys.Parse(text); err != nil || got != want {
				t.Errorf("Parse(%s) = %v, %v, want %v", name, got, err, want)
			}
		}
	}
}

func TestK1ParseRefusesEveryOtherForm(t *testing.T) {
	good := core.SPKIPrefix + aliceHex
	std := base64.StdEncoding.EncodeToString(raw(t, aliceHex))
	for name, text := range map[string]string{
		"empty":                "",
		"prefix alone":         core.SPKIPrefix,
		"short by one":         good[:87],
		"short by two":         good[:86],
		"long by one":          good + "0",
		"long by two":          good + "00",
		"trailing newline":     good + "\n",
		"leading space":        " " + good,
		"space inside":         good[:40] + " " + good[41:],
		"0x":                   "0x" + good[:86],
		"x25519":               strings.Replace(good, "2b6570", "2b656e", 1),
		"ed448":                strings.Replace(good, "2b6570", "2b6571", 1),
		"der length":           "302b" + good[4:],
		"unused bits":          strings.Replace(good, "032100", "032101", 1),
		"not hex":              good[:87] + "g",
		"fullwidth digit":      good[:85] + "\uff10",
		"raw hex short":        aliceHex[:63],
		"raw hex long":         aliceHex + "0",
		"raw hex with newline": aliceHex[:63] + "\n",
		"rsa":                  "30820122300d06092a864886f70d01010105000382010f00",
		"base64 newline":       std[:43] + "\n",
		"base64 break inside":  std[:20] + "\n" + std[20:43],
		"base64 double pad":    std[:42] + "==",
		"base64 stray bits":    std[:42] + string(std[42]+1) + "=",
		"base64 of 31":         base64.StdEncoding.EncodeToString(raw(t, aliceHex)[:31]),
		"base64 of 33":         base64.StdEncoding.EncodeToString(append(raw(t, aliceHex), 1)),
		"base64 of spki":       base64.StdEncoding.EncodeToString(core.PublicKey(raw(t, aliceHex)).SPKI()),
		"nul":                  good[:87] + "\x00",
		"pem":                  "-----BEGIN PUBLIC KEY-----",
	} {
		got, err := keys.Parse(text)
		if !errors.Is(err, core.Malformed) || !got.IsZero() {
			t.Errorf("Parse(%s) = %v, %v, want Malformed and no key", name, got, err)
		}
		var e *core.Error
		if !errors.As(err, &e) {
			t.Errorf("Parse(%s): %T, want *core.Error", name, err)
		}
		if len(text) > 40 && strings.Contains(err.Error(), text) {
			t.Errorf("Parse(%s): the error repeats the text: %v", name, err)
		}
	}
	mixed := strings.Repeat("A", 20) + "+-" + strings.Repeat("A", 21)
	if _, err := keys.Parse(mixed); !errors.Is(err, core.Malformed) {
		t.Errorf("Parse(mixed alphabets) = %v, want Malformed", err)
	}
}

// The points of order 1, 2, 4 and 8 and every non-canonical way to write one
// (RFC 8032 §5.1.3, "Taming the many EdDSAs" table 1, C2SP CCTV).
var lowOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// Encodings with y in [p, 2^255), which are non-canonical whatever the point,
// and encodings that are no point at all.
var nonCanonical = []string{
	"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = 3
	"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = 4
	"f2ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = 18
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestK1ParseRefusesUnsoundPoints(t *testing.T) {
	for _, point := range append(append([]string{}, lowOrder...), nonCanonical...) {
		for _, text := range []string{core.SPKIPrefix + point, strings.ToUpper(core.SPKIPrefix + point), point, base64.StdEncoding.EncodeToString(raw(t, point))} {
			if got, err := keys.Parse(text); !errors.Is(err, core.Malformed) || !got.IsZero() {
				t.Errorf("Parse(%s) = %v, %v, want Malformed", text, got, err)
			}
		}
	}
}

func TestK1ParseStoredReadsTheWireFormAlone(t *testing.T) {
	want := core.PublicKey(raw(t, aliceHex))
	if got, err := keys.ParseStored(want.String()); err != nil || got != want {
		t.Fatalf("ParseStored = %v, %v, want %v", got, err, want)
	}
	for _, text := range []string{"", aliceHex, strings.ToUpper(want.String()), want.String()[:87] + "g", want.String()[:87] + "A", want.String() + "0"} {
		if got, err := keys.ParseStored(text); !errors.Is(err, core.Malformed) || !got.IsZero() {
			t.Errorf("ParseStored(%q) = %v, %v, want Malformed", text, got, err)
		}
	}
}

func TestK2ParseSignature(t *testing.T) {
	p := keys.Generate()
	text := []byte("an envelope")
	sigHex := p.Signature(text)
	if len(sigHex) != 128 || strings.ToLower(sigHex) != sigHex {
		t.Fatalf("Sign = %q, want 128 lower-case hex characters", sigHex)
	}
	sig := raw(t, sigHex)
	for name, form := range map[string]string{
		"hex":            sigHex,
		"HEX":            strings.ToUpper(sigHex),
		"base64":         base64.StdEncoding.EncodeToString(sig),
		"base64 raw":     base64.RawStdEncoding.EncodeToString(sig),
		"base64 url":     base64.URLEncoding.EncodeToString(sig),
		"base64 url raw": base64.RawURLEncoding.EncodeToString(sig),
	} {
		got, err := keys.ParseSignature(form)
		if err != nil || string(got[:]) != string(sig) {
			t.Errorf("ParseSignature(%s) = %x, %v, want %x", name, got, err, sig)
		}
		if !keys.Verify(p.Public(), text, got) {
			t.Errorf("Verify(%s) = false, want true", name)
		}
	}
	std := base64.StdEncoding.EncodeToString(sig)
	for name, form := range map[string]string{
		"empty":               "",
		"short":               sigHex[:127],
		"short by a byte":     sigHex[:126],
		"long":                sigHex + "0",
		"long by a byte":      sigHex + "00",
		"trailing text":       sigHex + "zz",
		"newline":             sigHex + "\n",
		"space for a digit":   sigHex[:127] + " ",
		"not hex":             sigHex[:127] + "g",
		"88 hex":              sigHex[:88] + "=",
		"base64 newline":      std[:86] + "\n\n",
		"base64 one pad":      std[:87],
		"base64 stray bits":   std[:85] + string(std[85]+1) + "==",
		"base64 of 63":        base64.StdEncoding.EncodeToString(sig[:63]),
		"base64 of 65":        base64.StdEncoding.EncodeToString(append(append([]byte{}, sig...), 0)),
		"base64 of the hex":   base64.StdEncoding.EncodeToString([]byte(sigHex)),
		"hex of half, padded": sigHex[:64] + strings.Repeat("=", 64),
	} {
		if got, err := keys.ParseSignature(form); !errors.Is(err, core.Malformed) || got != [64]byte{} {
			t.Errorf("ParseSignature(%s) = %x, %v, want Malformed and nothing", name, got, err)
		}
	}
	mixed := strings.Repeat("A", 40) + "+_" + strings.Repeat("A", 44)
	if _, err := keys.ParseSignature(mixed); !errors.Is(err, core.Malformed) {
		t.Errorf("ParseSignature(mixed alphabets) = %v, want Malformed", err)
	}
}

func TestVerifyFailsOnEveryBentBit(t *testing.T) {
	p := keys.Generate()
	text := []byte("who, when, may, keep, tell, answer")
	sig, err := keys.ParseSignature(p.Signature(text))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sig {
		bent := sig
		bent[i] ^= 1 << (i % 8)
		if keys.Verify(p.Public(), text, bent) {
			t.Errorf("Verify with byte %d of the signature bent = true, want false", i)
		}
	}
	for i := range text {
		bent := append([]byte{}, text...)
		bent[i] ^= 1
		if keys.Verify(p.Public(), bent, sig) {
			t.Errorf("Verify with byte %d of the text bent = true, want false", i)
		}
	}
	if keys.Verify(keys.Generate().Public(), text, sig) {
		t.Error("Verify with another key = true, want false")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(core.SPKIPrefix + aliceHex)
	f.Add(strings.ToUpper(aliceHex))
	f.Add("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
	f.Add("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	for _, point := range append(lowOrder, nonCanonical...) {
		f.Add(core.SPKIPrefix + point)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := keys.Parse(text)
		if err != nil {
			if !errors.Is(err, core.Malformed) || !k.IsZero() {
				t.Fatalf("Parse(%q) = %v, %v, want Malformed and no key", text, k, err)
			}
			return
		}
		// What was let in is one of the forms of the key and nothing else.
		forms := []string{
			k.String(), hex.EncodeToString(k[:]),
			base64.StdEncoding.EncodeToString(k[:]), base64.RawStdEncoding.EncodeToString(k[:]),
			base64.URLEncoding.EncodeToString(k[:]), base64.RawURLEncoding.EncodeToString(k[:]),
		}
		found := strings.ToLower(text) == forms[0] || strings.ToLower(text) == forms[1]
		for _, form := range forms[2:] {
			found = found || text == form
		}
		if !found {
			t.Fatalf("Parse(%q) = %v, which has no such form", text, k)
		}
		if again, err := keys.Parse(k.String()); err != nil || again != k {
			t.Fatalf("Parse(%v) = %v, %v, want the same key", k, again, err)
		}
	})
}

func FuzzParseSignature(f *testing.F) {
	sig := keys.Generate().Signature([]byte("x"))
	b, _ := hex.DecodeString(sig)
	f.Add(sig)
	f.Add(strings.ToUpper(sig))
	f.Add(base64.StdEncoding.EncodeToString(b))
	f.Add(base64.RawURLEncoding.EncodeToString(b))
	f.Fuzz(func(t *testing.T, text string) {
		sig, err := keys.ParseSignature(text)
		if err != nil {
			if !errors.Is(err, core.Malformed) || sig != [64]byte{} {
				t.Fatalf("ParseSignature(%q) = %x, %v, want Malformed and nothing", text, sig, err)
			}
			return
		}
		found := strings.ToLower(text) == hex.EncodeToString(sig[:])
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			found = found || text == enc.EncodeToString(sig[:])
		}
		if !found {
			t.Fatalf("ParseSignature(%q) = %x, which has no such form", text, sig)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := core.SPKIPrefix + aliceHex
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseStored(b *testing.B) {
	text := core.SPKIPrefix + aliceHex
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.ParseStored(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseSignature(b *testing.B) {
	text := keys.Generate().Signature([]byte("x"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.ParseSignature(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	p, text := keys.Generate(), make([]byte, 512)
	sig, err := keys.ParseSignature(p.Signature(text))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !keys.Verify(p.Public(), text, sig) {
			b.Fatal("Verify = false, want true")
		}
	}
}

func BenchmarkSign(b *testing.B) {
	p, text := keys.Generate(), make([]byte, 512)
	b.ReportAllocs()
	for b.Loop() {
		p.Signature(text)
	}
}
