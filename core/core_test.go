package core_test

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
)

// aKey is alice's of the recorded exchanges.
const aKey = "302a300506032b6570032100a7febe3bfff449857fca220157f8115574986746555596592ba800bde8d098d4"

func parse(t *testing.T, text string) (k core.PublicKey) {
	t.Helper()
	if err := k.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestK3Labels: the labels are what gateways in the field derive, and say little
// of the key; the fingerprint says at least 60 bits.
func TestK3Labels(t *testing.T) {
	k := parse(t, aKey)
	if k.String() != aKey || k.ID() != aKey[:32] || k.ShortID() != aKey[:16] {
		t.Errorf("key %s, id %s, short id %s", k, k.ID(), k.ShortID())
	}
	other := k
	other[31] ^= 1
	if other.ID() != k.ID() || other.ShortID() != k.ShortID() {
		t.Error("the labels of keys that differ in the last byte differ")
	}
	if other.Fingerprint() == k.Fingerprint() {
		t.Error("the fingerprints of two keys are the same")
	}
	sum := sha256.Sum256(k.SPKI())
	want := base32.StdEncoding.EncodeToString(sum[:])[:20]
	got := k.Fingerprint()
	if strings.ReplaceAll(got, "-", "") != want || len(strings.Split(got, "-")) != core.FingerprintGroups {
		t.Errorf("fingerprint %s, want %s in groups of four", got, want)
	}
	if bits := 5 * len(want); bits < 60 {
		t.Errorf("a fingerprint of %d bits, want at least 60", bits)
	}
}

func TestKeyText(t *testing.T) {
	k := parse(t, aKey)
	text, err := k.MarshalText()
	if err != nil || string(text) != aKey {
		t.Errorf("MarshalText = %s, %v", text, err)
	}
	var zero core.PublicKey
	if text, err := zero.MarshalText(); err != nil || len(text) != 0 || !zero.IsZero() {
		t.Errorf("no key is written as %q, %v", text, err)
	}
	if again := parse(t, ""); !again.IsZero() {
		t.Errorf("an empty text reads as %v", again)
	}
	for _, bad := range []string{"x", aKey[:87], aKey + "0", "4" + aKey[1:], aKey[:87] + "g", aKey[24:]} {
		if err := new(core.PublicKey).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("UnmarshalText(%q) = nil, want an error", bad)
		}
	}
}

func TestKindOfErrors(t *testing.T) {
	cause := errors.New("disk on fire")
	err := fmt.Errorf("gateway: %w", &core.Error{Kind: core.Stale, Public: "Invalid or stale timestamp", Err: cause})
	if !errors.Is(err, core.Stale) || errors.Is(err, core.Replayed) || !errors.Is(err, cause) {
		t.Errorf("%v is not known by its kind and cause alone", err)
	}
	for want, err := range map[string]error{
		"stale":                      &core.Error{Kind: core.Stale},
		"a: b":                       &core.Error{Kind: core.Stale, Public: "a", Err: errors.New("b")},
		"3 of 4":                     core.Refusef(core.Full, "%d of %d", 3, 4),
		"rate-limited":               core.RateLimited,
		"Invalid or stale timestamp": core.Refuse(core.Stale, "Invalid or stale timestamp"),
	} {
		if err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	}
}

// TestTimes: a time on the wire is ISO 8601 in UTC with milliseconds, and what
// JavaScript, Go and people write is read.
func TestTimes(t *testing.T) {
	at := time.Date(2026, 11, 21, 21, 12, 53, 35_999_999, time.FixedZone("", 3600))
	if got := core.FormatTime(at); got != "2026-11-21T20:12:53.035Z" {
		t.Errorf("FormatTime = %s", got)
	}
	for _, text := range []string{"2026-11-21T20:12:53.035Z", "2026-11-21T21:12:53.035+01:00", "2026-11-21T20:12:53.035000Z"} {
		got, err := core.ParseTime(text)
		if err != nil || !got.Equal(at.Truncate(time.Millisecond)) {
			t.Errorf("ParseTime(%s) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "soon", "2026-11-21", "2026-11-21T20:12:53", "2026-13-21T20:12:53Z", "1795293158631", "2026-11-21T20:12:53Z ", "2026-11-21 20:12:53Z", "2026-02-30T00:00:00Z"} {
		if got, err := core.ParseTime(text); err == nil {
			t.Errorf("ParseTime(%q) = %v, want an error", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(0, 253402300799999).Draw(t, "ms"))
		if got, err := core.ParseTime(core.FormatTime(at)); err != nil || !got.Equal(at) {
			t.Fatalf("%v goes round to %v, %v", at, got, err)
		}
	})
}

func TestRaw(t *testing.T) {
	if text, err := (core.Raw)(nil).MarshalJSON(); err != nil || string(text) != "null" {
		t.Errorf("an empty Raw is written as %s, %v", text, err)
	}
	source := []byte(`{"a":1}`)
	var r core.Raw
	if err := r.UnmarshalJSON(source); err != nil {
		t.Fatal(err)
	}
	source[1] = 'x'
	if string(r) != `{"a":1}` {
		t.Errorf("Raw shares its bytes: %s", r)
	}
	if err := (*core.Raw)(nil).UnmarshalJSON(source); err == nil {
		t.Error("UnmarshalJSON on nil = nil, want an error")
	}
}

// TestBackoff: each wait is within the upper half of its step, and none is beyond
// the most.
func TestBackoff(t *testing.T) {
	const first, most = 2 * time.Second, 15 * time.Minute
	for attempt := -1; attempt < 200; attempt++ {
		step := most
		if n := max(attempt, 1) - 1; n < 9 {
			step = first << n
		}
		step = min(step, most)
		for range 20 {
			if got := core.Backoff(attempt, first, most); got < step/2 || got > step {
				t.Fatalf("Backoff(%d) = %v, want between %v and %v", attempt, got, step/2, step)
			}
		}
	}
}

// TestClone: a copy of a peer can be changed without changing the peer.
func TestClone(t *testing.T) {
	p := &core.Peer{Granted: &core.Bundle{Scopes: []core.Grant{{Intent: "a"}}}, Received: &core.Bundle{Scopes: []core.Grant{{Intent: "b"}}},
		Offered: []string{"c"}, Features: []string{"d"}, SeenIDs: []string{"e"}, Levels: map[string]string{"f": "g"}, History: []core.Transition{{Event: "h"}}}
	before := fmt.Sprintf("%+v %+v %+v", *p, *p.Granted, *p.Received)
	c := p.Clone()
	c.Granted.Scopes[0].Intent, c.Received.Scopes[0].Intent, c.Offered[0], c.Features[0], c.SeenIDs[0] = "x", "x", "x", "x", "x"
	c.Levels["f"], c.Granted.Version, c.History[0].Event = "x", "x", "x"
	c.Remember(core.Transition{To: core.Approved})
	if after := fmt.Sprintf("%+v %+v %+v", *p, *p.Granted, *p.Received); after != before {
		t.Errorf("changed through its copy:\n%s\nwas\n%s", after, before)
	}
}

func TestPeerName(t *testing.T) {
	p := core.Peer{Key: parse(t, aKey), Names: core.Names{DisplayName: "Somebody Else"}}
	if p.Name() != p.Key.Fingerprint() {
		t.Errorf("a peer without an alias is called %q, want its fingerprint", p.Name())
	}
	if p.Alias = "al"; p.Name() != "al" {
		t.Errorf("a peer with an alias is called %q", p.Name())
	}
}

// TestRejects: no word is a yes, as in the field; only false is a no.
func TestRejects(t *testing.T) {
	yes, no := true, false
	for approved, want := range map[*bool]bool{nil: false, &yes: false, &no: true} {
		if got := (&core.Approval{Approved: approved}).Rejects(); got != want {
			t.Errorf("Rejects = %v, want %v", got, want)
		}
	}
}
