package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// parse reads the key of a run's peer.
func parse(t *testing.T, key string) core.PublicKey {
	t.Helper()
	k, err := keys.Parse(key)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestAsPeer: our gateway passes every case of a peer that its operator approves, and
// has no more left than a removed one.
func TestAsPeer(t *testing.T) {
	g := coretest.New(t)
	asked := 0
	report, err := Run(t.Context(), g.URL, Options{Level: Hardened, Peer: &Peer{Asked: func(_, key string) {
		asked++
		if _, err := g.ApprovePeer(t.Context(), parse(t, key), gateway.Approval{}); err != nil {
			t.Error(err)
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, r := range report.Results {
		if !r.OK {
			t.Errorf("%s: %s%s", r.Name, r.Problem, r.Skipped)
		}
		if strings.HasPrefix(r.Name, "peer: ") {
			played++
		}
	}
	if asked != 1 || played != len(peerSteps()) || !report.OK {
		t.Errorf("asked %d times, played %d of %d, ok %v", asked, played, len(peerSteps()), report.OK)
	}
	for _, p := range g.Peers() {
		if p.Trust == core.Approved || p.Trust == core.Pending && !p.OldForm {
			t.Errorf("the run has left %s behind as %s", p.Name(), p.Trust)
		}
	}
}

// TestAsPeerUnapproved: where nobody approves, the cases that need it are not sent, and
// nothing stays.
func TestAsPeerUnapproved(t *testing.T) {
	g := coretest.New(t)
	report, err := Run(t.Context(), g.URL, Options{Level: Hardened, Peer: &Peer{ApproveWithin: 100 * time.Millisecond}})
	if err != nil || !report.OK {
		t.Fatalf("ok %v, %v; %+v", report.OK, err, report.Failures(true))
	}
	skipped := 0
	for _, r := range report.Results {
		if strings.Contains(r.Skipped, "nobody has approved") {
			skipped++
		}
	}
	if skipped != len(peerSteps())-1 {
		t.Errorf("%d cases were not sent, want %d", skipped, len(peerSteps())-1)
	}
	if left := g.Peers(); len(left) != 0 {
		t.Errorf("the run has left %d peers behind", len(left))
	}
}

// TestAsPeerEras: gateways of the field are not failed for what their versions do, but
// are told what they let through.
func TestAsPeerEras(t *testing.T) {
	hintWait = 300 * time.Millisecond // they never ask
	t.Cleanup(func() { hintWait = 45 * time.Second })
	for _, era := range []coretest.Era{coretest.M, coretest.E} {
		old := coretest.Legacy(t, era)
		report, err := Run(t.Context(), old.URL, Options{Level: Seeds, Peer: &Peer{ApproveWithin: 10 * time.Second, Asked: func(_, key string) {
			old.Approve(parse(t, key))
		}}})
		if err != nil || !report.OK {
			t.Errorf("%s: ok %v, %v; %+v", era, report.OK, err, report.Failures(true))
		}
		let := map[string]bool{}
		for _, r := range report.Failures(false) {
			let[r.Name] = true
		}
		for _, name := range []string{"peer: another message under a used nonce", "peer: a message for another gateway", "peer: a removal that names nobody is asked about"} {
			if !let[name] {
				t.Errorf("%s is not told of %q", era, name)
			}
		}
	}
}
