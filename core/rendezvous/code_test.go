package rendezvous

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
	stores "github.com/opengatewayprotocol/ogp/core/store/memory"
)

func TestV4LongForm(t *testing.T) {
	k := key(t, 1).Public()
	ref := Ref{Code: "a3f7k2", Pin: pinOf(k)}
	want := "a3f7k2-" + k.Fingerprint()[:14]
	if got := ref.Long(); got != want {
		t.Fatalf("Long = %s, want the code and three groups of the fingerprint, %s", got, want)
	}
	for _, text := range []string{
		want, strings.ToLower(want), strings.ToUpper(want), " " + want + "\n", strings.ReplaceAll(want, "-", " "),
		strings.ReplaceAll(want, "-", ""), strings.ReplaceAll(want, "-", "–"), strings.ReplaceAll(want, "-", " - "),
	} {
		got, err := ParseRef(text)
		if err != nil || got != ref {
			t.Errorf("ParseRef(%q) = %+v, %v, want %+v", text, got, err, ref)
		}
	}
	if err := ref.Check(k); err != nil {
		t.Errorf("Check of the key = %v", err)
	}
	if err := ref.Check(key(t, 2).Public()); !isKind(err, core.Conflict) {
		t.Errorf("Check of another key = %v, want core.Conflict", err)
	}
	if err := (Ref{Code: "a3f7k2"}).Check(key(t, 2).Public()); err != nil {
		t.Errorf("Check without a pin = %v", err)
	}
}

func isKind(err error, k core.Kind) bool {
	e, ok := err.(*core.Error)
	return ok && e.Kind == k
}

// Each bit of the pin counts.
func TestV4PinHasNoSlack(t *testing.T) {
	k := key(t, 1).Public()
	pin := pinOf(k)
	for i := range pin {
		other := byte('A')
		if pin[i] == other {
			other = 'B'
		}
		ref := Ref{Code: "a3f7k2", Pin: pin[:i] + string(other) + pin[i+1:]}
		if ref.Check(k) == nil {
			t.Errorf("Check passes with character %d changed", i)
		}
	}
}

func TestParseRefRefuses(t *testing.T) {
	k := key(t, 1).Public()
	link := Ref{Code: "a3f7k2", Key: k}.Link()
	for _, text := range []string{
		"", "a3f7k", "a3f7k2x", "a3f7k!", "ä3f7k2", "a3f7k2-ABCD", "a3f7k2-ABCD-ABCD", "a3f7k2-ABCD-ABCD-ABC1", "a3f7k2-ABCD-ABCD-ABCD-ABCD",
		"a3f7k2-ABCD-ABCD-ABCD-ABCD-ABCD-ABC0", strings.Repeat("a", 3000), "https://gw.example/invite/a3f7k2",
		"ogp:a3f7k2", "ogp://invite/a3f7k2", "ogp://other/a3f7k2?k=" + k.String(), "ogp://u@invite/a3f7k2?k=" + k.String(),
		"ogp://invite/a3f7k?k=" + k.String(), link + "&u=javascript:1", link + "&r=ftp://x", link + "&s=SHORT", link + "&e=soon", link + "&u=%zz",
		"ogp://invite/a3f7k2?k=" + core.SPKIPrefix + strings.Repeat("00", 32),
	} {
		if got, err := ParseRef(text); !isKind(err, core.Malformed) {
			t.Errorf("ParseRef(%q) = %+v, %v, want core.Malformed", text, got, err)
		} else if len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats %q, which may hold a secret", text)
		}
	}
}

// Every form reads back to what it was written from.
func TestRefForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed")
		private, err := keys.FromSeed(seed)
		if err != nil {
			t.Fatal(err)
		}
		k := private.Public()
		ref := Ref{
			Code: rapid.StringMatching(`[a-z0-9]{6}`).Draw(t, "code"), Pin: pinOf(k), Key: k,
			Secret: Secret(rapid.StringMatching(`([A-Z2-7]{12})?`).Draw(t, "secret")),
			URL:    rapid.SampledFrom([]string{"", "https://gw.example/a?b=c&d=é", "http://[2001:db8::1]:18790"}).Draw(t, "url"),
		}
		if rapid.Bool().Draw(t, "expires") {
			ref.Expires = time.Unix(1_800_000_000, 0)
		}
		if got, err := ParseRef(ref.Link()); err != nil || got != ref {
			t.Fatalf("ParseRef(%s) = %+v, %v, want %+v", ref.Link(), got, err, ref)
		}
		long := Ref{Code: ref.Code, Pin: ref.Pin, Secret: ref.Secret}
		if got, err := ParseRef(ref.Long()); err != nil || got != long {
			t.Fatalf("ParseRef(%s) = %+v, %v, want %+v", ref.Long(), got, err, long)
		}
	})
}

func FuzzParseRef(f *testing.F) {
	f.Add("a3f7k2")
	f.Add("a3f7k2-ABCD-EFGH-IJKL")
	f.Add("a3f7k2-ABCD-EFGH-IJKL-MNOP-QRST-UVWX")
	private, err := keys.FromSeed(make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Ref{Code: "a3f7k2", Key: private.Public(), Secret: "ABCDEFGHIJKL", URL: "https://gw.example", Rendezvous: "https://r.example"}.Link())
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := ParseRef(text)
		if err != nil {
			return
		}
		written := ref.Link()
		if written == "" {
			written = ref.Long()
		}
		if again, err := ParseRef(written); err != nil || again != ref {
			t.Fatalf("%q reads as %+v, written %q reads as %+v, %v", text, ref, written, again, err)
		}
	})
}

func TestPreApproval(t *testing.T) {
	inviter, accepter, third := key(t, 1).Public(), key(t, 2).Public(), key(t, 3).Public()
	now := time.Unix(1_800_000_000, 0)
	invite := Invite{Uses: 2, Ref: Ref{Code: "a3f7k2", Pin: pinOf(inviter), Key: inviter, Secret: "ABCDEFGHIJKL", Expires: now.Add(10 * time.Minute)}}
	grants := []core.Grant{{Intent: core.IntentMessage, Enabled: true}}
	store := stores.New()
	defer store.Close()
	a := &Approvals{Store: store}
	if err := a.Add(t.Context(), invite, grants, now); err != nil {
		t.Fatal(err)
	}
	long, err := ParseRef(invite.Long())
	if err != nil {
		t.Fatal(err)
	}
	good := long.Prove(inviter, accepter)

	// Reckoned with Python's hmac over the context, the code and both keys in hex.
	const want = "22bad4ea1c1945a90e7bd288a8de4c6181a3bca6b43a5cf47e7e56c02ee92c80"
	if good.Token != "a3f7k2" || good.Proof != want {
		t.Fatalf("Prove = %+v, want %s", good, want)
	}
	for name, test := range map[string]struct {
		in       *core.Invited
		accepter core.PublicKey
		at       time.Time
	}{
		"none":                    {nil, accepter, now},
		"the code alone":          {&core.Invited{Token: "a3f7k2"}, accepter, now},
		"no secret":               {&core.Invited{Token: "a3f7k2", Proof: proof("", "a3f7k2", inviter, accepter)}, accepter, now},
		"another's proof":         {good, third, now},
		"for another inviter":     {long.Prove(third, accepter), accepter, now},
		"for another code":        {&core.Invited{Token: "b3f7k2", Proof: good.Proof}, accepter, now},
		"with another secret":     {Ref{Code: "a3f7k2", Secret: "ABCDEFGHIJKM"}.Prove(inviter, accepter), accepter, now},
		"in capitals":             {&core.Invited{Token: "a3f7k2", Proof: strings.ToUpper(good.Proof)}, accepter, now},
		"after the code's end":    {good, accepter, now.Add(10*time.Minute + 1)},
		"a reflected proof of us": {long.Prove(accepter, inviter), accepter, now},
	} {
		if _, ok, err := a.Redeem(t.Context(), test.in, inviter, test.accepter, test.at); ok || err != nil {
			t.Errorf("%s: approved (%v)", name, err)
		}
	}
	for range 3 { // one use, however often, and whoever restarts
		a = &Approvals{Store: store}
		if got, ok, _ := a.Redeem(t.Context(), good, inviter, accepter, now); !ok || len(got) != 1 || got[0].Intent != core.IntentMessage {
			t.Fatalf("Redeem = %v, %v, want the grants", got, ok)
		}
	}
	if _, ok, _ := a.Redeem(t.Context(), long.Prove(inviter, third), inviter, third, now); !ok {
		t.Error("the second of two uses is refused")
	}
	fourth := key(t, 4).Public()
	if _, ok, _ := a.Redeem(t.Context(), long.Prove(inviter, fourth), inviter, fourth, now); ok {
		t.Error("a third use of two")
	}
	for code, want := range map[string]int{"a3f7k2": 2, "b3f7k2": 0} {
		if n, ok, err := a.Used(t.Context(), code); n != want || ok != (want > 0) || err != nil {
			t.Errorf("Used of %s = %d, %t, %v, want %d", code, n, ok, err, want)
		}
	}
	if err := a.Forget(t.Context(), invite.Long()); err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := a.Redeem(t.Context(), good, inviter, accepter, now); ok {
		t.Error("approved by a revoked invite")
	}
	if (Ref{Code: "a3f7k2"}).Prove(inviter, accepter) != nil {
		t.Error("Prove without a secret, want nil")
	}
}

func TestNewCode(t *testing.T) {
	seen := map[byte]bool{}
	for range 2000 {
		code := newCode()
		if !isCode(code) {
			t.Fatalf("newCode = %q", code)
		}
		for i := range code {
			seen[code[i]] = true
		}
	}
	if len(seen) != len(codeAlphabet) {
		t.Errorf("%d of %d characters in 2,000 codes", len(seen), len(codeAlphabet))
	}
	if s := NewSecret(); len(s) != 12 || !isBase32(string(s)) || s == NewSecret() {
		t.Errorf("NewSecret = %q, want 12 base32 characters, new each time", s)
	}
}
