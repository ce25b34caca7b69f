package envelope_test

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// recorded gives the bodies that gateways in the field have sent to a path, with
// the keys of those who sent them.
func recorded(tb testing.TB, path string) (bodies []string, senders []core.PublicKey) {
	tb.Helper()
	files, err := filepath.Glob("../../conformance/testdata/exchanges-*.json")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no recorded exchanges: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		var recording struct {
			Keys []struct {
				PublicKey string `json:"publicKey"`
			} `json:"keys"`
			Exchanges []struct {
				Method string `json:"method"`
				Path   string `json:"path"`
				Body   string `json:"request_body"`
			} `json:"exchanges"`
		}
		if err := json.Unmarshal(text, &recording); err != nil {
			tb.Fatal(err)
		}
		for _, e := range recording.Exchanges {
			if e.Method == "POST" && strings.HasPrefix(e.Path, path) {
				bodies = append(bodies, e.Body)
			}
		}
		senders = senders[:0]
		for _, k := range recording.Keys {
			key, err := keys.Parse(k.PublicKey)
			if err != nil {
				tb.Fatal(err)
			}
			senders = append(senders, key)
		}
	}
	if len(bodies) == 0 {
		tb.Fatalf("no recorded body for %s", path)
	}
	return bodies, senders
}

// anyTime opens as bob at any time.
func anyTime() *envelope.Opener {
	return &envelope.Opener{Self: bobKey, Near: func(time.Time) error { return nil }}
}

// fuzz seeds an Open function with what was recorded and with envelopes of ours,
// and holds it to two promises: what it opens is signed, by the key it names,
// over the very text that it gives; and that text opens again to the same.
func fuzz[T any](f *testing.F, path string, ours []sample, open func(body []byte, find envelope.Find) (envelope.Opened[T], error)) {
	bodies, senders := recorded(f, path)
	for _, b := range bodies {
		f.Add([]byte(b))
	}
	for _, l := range ours {
		f.Add(l.seal())
		f.Add(without(f, l.seal(), "v2"))
	}
	senders = append(senders, aliceKey)
	find := func(string) ([]core.PublicKey, error) { return senders, nil }
	opened := 0
	for _, b := range bodies {
		if _, err := open([]byte(b), find); err == nil {
			opened++
		}
	}
	if opened == 0 {
		f.Fatalf("none of %d recorded bodies for %s opens", len(bodies), path)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := open(body, find)
		if err != nil {
			return
		}
		again, err := open(body, find)
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("opened a second time: %+v, %v; want %+v", again, err, got)
		}
		if got.V2 {
			return // its signature lies over the proof; TestL7Proof binds that to the text
		}
		var fields struct {
			Signature string `json:"signature"`
		}
		if err := json.Unmarshal(body, &fields); err != nil {
			t.Fatalf("opened what is no strict JSON: %v", err)
		}
		sig, err := keys.ParseSignature(fields.Signature)
		if err != nil || !ed25519.Verify(got.Key[:], got.Text, sig[:]) {
			t.Errorf("opened a text that its key has not signed: %s", got.Text)
		}
	})
}

func FuzzOpenRequest(f *testing.F) {
	fuzz(f, "/federation/request", samples[:1], func(body []byte, _ envelope.Find) (envelope.Opened[core.Request], error) {
		return envelope.Open(anyTime(), envelope.Request, body, nil)
	})
}

func FuzzOpenApproval(f *testing.F) {
	fuzz(f, "/federation/approve", samples[1:3], func(body []byte, find envelope.Find) (envelope.Opened[core.Approval], error) {
		return envelope.Open(anyTime(), envelope.Approval, body, find)
	})
}

func FuzzOpenRemoval(f *testing.F) {
	fuzz(f, "/federation/removed", samples[3:4], func(body []byte, find envelope.Find) (envelope.Opened[core.Removal], error) {
		return envelope.Open(anyTime(), envelope.Removal, body, find)
	})
}

func FuzzOpenMessage(f *testing.F) {
	fuzz(f, "/federation/message", samples[4:5], func(body []byte, find envelope.Find) (envelope.Opened[core.Message], error) {
		got, err := envelope.Open(anyTime(), envelope.Message, body, find)
		if err == nil {
			// The quick decoding of messages and the library's read the same.
			var m core.Message
			if err := json.Unmarshal(got.Text, &m); err != nil || !reflect.DeepEqual(m, got.Value) {
				panic(fmt.Sprintf("decoded %+v, the library %+v, %v", got.Value, m, err))
			}
		}
		return got, err
	})
}

func FuzzOpenReply(f *testing.F) {
	fuzz(f, "/federation/reply/", samples[5:6], func(body []byte, find envelope.Find) (envelope.Opened[core.Reply], error) {
		candidates, _ := find("")
		return envelope.Open(anyTime(), envelope.Reply, body, envelope.From(candidates...))
	})
}

func FuzzOpenIdentity(f *testing.F) {
	fuzz(f, "/federation/update-identity", samples[6:], func(body []byte, _ envelope.Find) (envelope.Opened[core.Identity], error) {
		return envelope.Open(anyTime(), envelope.Identity, body, nil)
	})
}

func FuzzOpenRecord(f *testing.F) {
	for _, purpose := range []string{envelope.PurposeRegister, envelope.PurposeInvite, envelope.PurposeList} {
		var body struct {
			V2 envelope.Record `json:"v2"`
		}
		if err := json.Unmarshal(must(sealer.SealHints(envelope.Hints{Purpose: purpose, Port: 18790}, now)), &body); err != nil {
			f.Fatal(err)
		}
		if _, err := anyTime().OpenRecord(body.V2, purpose); err != nil {
			f.Fatal(err)
		}
		f.Add(body.V2.PayloadStr, body.V2.Signature, purpose)
	}
	f.Fuzz(func(t *testing.T, text, signature, purpose string) {
		got, err := anyTime().OpenRecord(envelope.Record{PayloadStr: text, Signature: signature}, purpose)
		if err != nil {
			return
		}
		sig, err := keys.ParseSignature(signature)
		over := "\xff" + envelope.RecordCtx(purpose) + "\x00" + text
		if purpose == "" { // the form of 0.7
			over = text
		}
		if err != nil || !ed25519.Verify(got.Key[:], []byte(over), sig[:]) {
			t.Errorf("opened a text that its key has not signed: %s", text)
		}
	})
}

func FuzzOpenCardRequest(f *testing.F) {
	id, at, signature := heartbeat(now)
	f.Add(id, at, signature)
	f.Add(`a"b\`, "\u2028", "00")
	f.Add("0", "\xe2", "0###0")
	f.Fuzz(func(t *testing.T, id, at, signature string) {
		got, err := envelope.Open(anyTime(), envelope.CardRequest, envelope.CardRequestBody(id, at, signature), findAlice)
		if err != nil {
			return
		}
		sig, err := keys.ParseSignature(signature)
		if err != nil || got.Key != aliceKey || !ed25519.Verify(aliceKey[:], got.Text, sig[:]) {
			t.Errorf("opened a text that alice has not signed: %s", got.Text)
		}
	})
}

// TestRecordedBodies: every signature that was recorded holds over the text that
// was recorded for it, whatever else is wrong with its envelope.
func TestRecordedBodies(t *testing.T) {
	for path, want := range map[string]int{"/federation/request": 31, "/federation/approve": 13, "/federation/removed": 6, "/federation/message": 109, "/federation/reply/": 4} {
		bodies, senders := recorded(t, path)
		find := func(string) ([]core.PublicKey, error) { return senders, nil }
		opened := 0
		for _, b := range bodies {
			var err error
			o := anyTime()
			switch path {
			case "/federation/request":
				_, err = envelope.Open(o, envelope.Request, []byte(b), nil)
			case "/federation/approve":
				_, err = envelope.Open(o, envelope.Approval, []byte(b), find)
			case "/federation/removed":
				_, err = envelope.Open(o, envelope.Removal, []byte(b), find)
			case "/federation/message":
				_, err = envelope.Open(o, envelope.Message, []byte(b), find)
			default:
				_, err = envelope.Open(o, envelope.Reply, []byte(b), envelope.From(senders...))
			}
			if err == nil {
				opened++
			}
		}
		if opened != want {
			t.Errorf("%d of %d recorded bodies for %s open, want %d", opened, len(bodies), path, want)
		}
	}
}
