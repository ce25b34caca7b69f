package keys_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// vector is one verification of a published corpus, in hex.
type vector struct {
	Name string `json:"-"`
	Key  string `json:"key"`
	Text string `json:"text"`
	Sig  string `json:"sig"`
	Want *bool  `json:"-"` // the corpus's own verdict, where it has one
}

func corpus(t *testing.T, name string, into any) {
	t.Helper()
	folder := os.Getenv("OGP_CORPORA")
	if folder == "" {
		t.Skip("OGP_CORPORA names no folder with the published Ed25519 vectors (wycheproof, CCTV, speccheck)")
	}
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func wycheproof(t *testing.T) (vectors []vector) {
	var file struct {
		Groups []struct {
			Key struct {
				Pk string `json:"pk"`
			} `json:"publicKey"`
			Tests []struct {
				Comment string `json:"comment"`
				Msg     string `json:"msg"`
				Sig     string `json:"sig"`
				Result  string `json:"result"`
			} `json:"tests"`
		} `json:"testGroups"`
	}
	corpus(t, "wycheproof-ed25519.json", &file)
	for _, g := range file.Groups {
		for _, c := range g.Tests {
			valid := c.Result == "valid"
			vectors = append(vectors, vector{c.Comment, g.Key.Pk, c.Msg, c.Sig, &valid})
		}
	}
	return vectors
}

func cctv(t *testing.T) (vectors []vector) {
	var file []struct {
		Key string `json:"key"`
		Sig string `json:"sig"`
		Msg string `json:"msg"`
	}
	corpus(t, "cctv-ed25519.json", &file)
	for _, c := range file {
		vectors = append(vectors, vector{Key: c.Key, Text: hex.EncodeToString([]byte(c.Msg)), Sig: c.Sig})
	}
	return vectors
}

func speccheck(t *testing.T) (vectors []vector) {
	var file []struct {
		Message   string `json:"message"`
		PubKey    string `json:"pub_key"`
		Signature string `json:"signature"`
	}
	corpus(t, "ed25519-speccheck.json", &file)
	for _, c := range file {
		vectors = append(vectors, vector{Key: c.PubKey, Text: c.Message, Sig: c.Signature})
	}
	return vectors
}

var corpora = map[string]struct {
	read func(*testing.T) []vector
	min  int // so that an empty reading cannot pass
}{
	"wycheproof": {wycheproof, 150},
	"cctv":       {cctv, 914},
	"speccheck":  {speccheck, 12},
}

// verdict is ours, from text to answer, without the question whether the key is
// sound: that is Parse's, once.
func verdict(t *testing.T, v vector) bool {
	t.Helper()
	sig, err := keys.ParseSignature(v.Sig)
	if err != nil {
		return false
	}
	return thrice(t, core.PublicKey(raw(t, v.Key)), raw(t, v.Text), sig)
}

func TestK1VerdictsOnPublishedVectorsAreGos(t *testing.T) {
	for name, c := range corpora {
		t.Run(name, func(t *testing.T) {
			vectors := c.read(t)
			if len(vectors) < c.min {
				t.Fatalf("%d vectors, want at least %d", len(vectors), c.min)
			}
			for i, v := range vectors {
				got := verdict(t, v)
				want := false
				if sig := raw(t, v.Sig); len(sig) == ed25519.SignatureSize {
					want = ed25519.Verify(raw(t, v.Key), raw(t, v.Text), sig)
				}
				if got != want || v.Want != nil && got != *v.Want {
					t.Errorf("vector %d %s: Verify = %v, want %v", i, v.Name, got, want)
				}
			}
		})
	}
}

func TestK1VerdictsOnPublishedVectorsAreNodes(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not on the path, so there is nothing to compare with")
	}
	for name, c := range corpora {
		t.Run(name, func(t *testing.T) {
			vectors := c.read(t)
			input, err := json.Marshal(vectors)
			if err != nil {
				t.Fatal(err)
			}
			run := exec.Command(node, "-e", nodeVerify)
			run.Stdin = bytes.NewReader(input)
			out, err := run.Output()
			if err != nil {
				t.Fatalf("node: %v", err)
			}
			var nodes []bool
			if err := json.Unmarshal(out, &nodes); err != nil || len(nodes) != len(vectors) {
				t.Fatalf("node answered %d verdicts, %v, want %d", len(nodes), err, len(vectors))
			}
			for i, v := range vectors {
				if got := verdict(t, v); got != nodes[i] {
					t.Errorf("vector %d %s: Verify = %v, node's verdict is %v", i, v.Name, got, nodes[i])
				}
			}
		})
	}
}

// nodeVerify answers the verdicts of node's own verifier.
const nodeVerify = `
const c = require('crypto')
const vectors = JSON.parse(require('fs').readFileSync(0, 'utf8'))
console.log(JSON.stringify(vectors.map(v => {
  try {
    const key = c.createPublicKey({ key: Buffer.from('` + core.SPKIPrefix + `' + v.key, 'hex'), format: 'der', type: 'spki' })
    return c.verify(null, Buffer.from(v.text, 'hex'), key, Buffer.from(v.sig, 'hex'))
  } catch { return false }
})))
`

// TestK1ParseOnPublishedKeys holds Parse against the flags of the CCTV set.
func TestK1ParseOnPublishedKeys(t *testing.T) {
	var file []struct {
		Key   string   `json:"key"`
		Flags []string `json:"flags"`
	}
	corpus(t, "cctv-ed25519.json", &file)
	refused := 0
	for i, c := range file {
		unsound := false
		for _, flag := range c.Flags {
			unsound = unsound || flag == "low_order_A" || flag == "non_canonical_A"
		}
		if _, err := keys.Parse(c.Key); (err != nil) != unsound {
			t.Errorf("vector %d: Parse(%s) = %v, want refused: %v (%v)", i, c.Key, err, unsound, c.Flags)
		}
		if unsound {
			refused++
		}
	}
	if refused == 0 || refused == len(file) {
		t.Errorf("%d of %d keys are unsound, want some of each", refused, len(file))
	}
}
