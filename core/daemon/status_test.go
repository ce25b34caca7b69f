package daemon

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/daemon/doctor"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/lease/leasetest"
	"github.com/opengatewayprotocol/ogp/core/nodes"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// An approval that did not arrive is no error of the last day any more once the peer has
// taken a later one, or has said that it has us approved.
func TestLaterApprovalsAreNotShown(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name   string
		change func(p *core.Peer, x *core.OutboxItem)
		over   bool
	}{
		{"nothing since", func(*core.Peer, *core.OutboxItem) {}, false},
		{"a yes before", func(p *core.Peer, _ *core.OutboxItem) { p.Asking.Sure = now.Add(-2 * time.Minute) }, false},
		{"a yes since", func(p *core.Peer, _ *core.OutboxItem) { p.Asking.Sure = now }, true},
		{"a later one taken", func(_ *core.Peer, x *core.OutboxItem) { x.State, x.Done = core.OutSent, now }, true},
		{"a message taken", func(_ *core.Peer, x *core.OutboxItem) { x.Kind, x.State, x.Done = core.OutMessage, core.OutSent, now }, false},
		{"removed since", func(p *core.Peer, _ *core.OutboxItem) { p.Trust = core.Removed }, true},
	} {
		d := &Daemon{store: memory.New()}
		var err error
		if d.gateway, err = gateway.New(t.Context(), gateway.Options{Signer: keys.Generate(), Settings: ours.Defaults(), Store: d.store}); err != nil {
			t.Fatal(err)
		}
		p := &core.Peer{Key: keys.Generate().Public(), URL: "http://bob.example", Trust: core.Approved}
		item := &core.OutboxItem{ID: "1", Peer: p.Key, Kind: core.OutApprove, State: core.OutWaiting}
		c.change(p, item)
		if _, err := d.gateway.ImportPeers(t.Context(), []*core.Peer{p}); err != nil {
			t.Fatal(err)
		}
		if err := d.store.Commit(t.Context(), &core.Change{Outbox: []*core.OutboxItem{item}}); err != nil {
			t.Fatal(err)
		}
		e := core.Event{Type: core.EventDeliveryFailed, Peer: p.Key, At: now.Add(-time.Minute), Data: core.Raw(`{"kind":"approve"}`)}
		if got := d.isOver(t.Context(), e); got != c.over {
			t.Errorf("%s: over %v, want %v", c.name, got, c.over)
		}
		d.gateway.Close()
	}
}

// That a notifier's set-up was wrong is no error of the last day any more once it has taken
// something.
func TestMendedNotifiersAreNotShown(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name   string
		result doctor.TestResult
		data   string
		over   bool
	}{
		{"a test call taken since", doctor.TestResult{At: now}, `{"notifier":"webhook"}`, true},
		{"one taken before", doctor.TestResult{At: now.Add(-2 * time.Minute)}, `{"notifier":"webhook"}`, false},
		{"one that failed", doctor.TestResult{At: now, Detail: "401"}, `{"notifier":"webhook"}`, false},
		{"of another notifier", doctor.TestResult{At: now}, `{"notifier":"ntfy"}`, false},
		{"of no notifier", doctor.TestResult{At: now}, `{}`, false},
	} {
		d := &Daemon{}
		d.tests.Store("webhook", c.result)
		e := core.Event{Type: core.EventWarning, At: now.Add(-time.Minute), Data: core.Raw(c.data)}
		if got := d.isOver(t.Context(), e); got != c.over {
			t.Errorf("%s: over %v, want %v", c.name, got, c.over)
		}
	}
}

func TestFailuresAreTheLastOnes(t *testing.T) {
	var f failures
	old := core.Event{ID: "old", At: time.Now().Add(-2 * recent)}
	f.add(old)
	if got := f.newestFirst(); len(got) != 0 {
		t.Errorf("got %v, want none of last week", got)
	}
	for i := range 2 * mostShown {
		f.add(core.Event{ID: string(rune('a' + i)), At: time.Now()})
	}
	got := f.newestFirst()
	if len(got) != mostShown || got[0].ID != "j" || got[mostShown-1].ID != "f" {
		t.Errorf("got %v, want j to f", got)
	}
}

// nodeTable is a core.NodeTable of this node and others.
type nodeTable struct{ own, others []core.NodeRecord }

func (*nodeTable) Node() string { return "this" }
func (t *nodeTable) Beat(_ context.Context, k core.PublicKey, data string) (time.Time, error) {
	t.own = []core.NodeRecord{{ID: "this", Key: k, Data: data}}
	return time.Now(), nil
}
func (t *nodeTable) Nodes(context.Context) ([]core.NodeRecord, error) {
	return slices.Concat(t.own, t.others), nil
}
func (*nodeTable) Leave(context.Context) error { return nil }

// A node that leaves the registration to another does not show it as missing. One that sees no
// other shows how it stands itself, whether it has the lease or not.
func TestRegistrationOfAnotherNode(t *testing.T) {
	other := core.NodeRecord{ID: "other", Data: "{}"}
	gone := other
	gone.Ago = time.Hour
	for name, c := range map[string]struct {
		holds, looks bool
		others       []core.NodeRecord
		elsewhere    bool
	}{
		"it has the lease":               {holds: true, looks: true, others: []core.NodeRecord{other}},
		"another node has the lease":     {looks: true, others: []core.NodeRecord{other}, elsewhere: true},
		"no other node":                  {looks: true},
		"the other has gone":             {looks: true, others: []core.NodeRecord{gone}},
		"it has not seen the others yet": {others: []core.NodeRecord{other}},
	} {
		table := &leasetest.Table{}
		node := func(name string) *lease.Keeper {
			return lease.New(&leasetest.Node{Store: memory.New(), Table: table, Name: name}, slog.New(slog.DiscardHandler))
		}
		d := &Daemon{rendezvous: rendezvous.NewClient(rendezvous.ClientOptions{Key: keys.Generate(), URLs: []string{"http://127.0.0.1:1"}}), leases: node("this"),
			nodes: nodes.New(nodes.Options{Store: &nodeTable{others: c.others}, Log: slog.New(slog.DiscardHandler), Config: func() *config.Config { return new(config.Default()) },
				Modules: func() string { return "" }, Lag: func() time.Duration { return 0 }})}
		holder := d.leases
		if !c.holds {
			holder = node("other")
		}
		_, release, err := holder.Keep(t.Context(), "rendezvous")
		if err != nil {
			t.Fatal(name, err)
		}
		defer release()
		if c.looks {
			if err := d.nodes.Look(t.Context()); err != nil {
				t.Fatal(name, err)
			}
		}
		if got := d.registrations(); len(got) != 1 || got[0].Elsewhere != c.elsewhere || got[0].URL == "" || d.leases.Holds("rendezvous") != c.holds {
			t.Errorf("%s: %+v, want Elsewhere %v", name, got, c.elsewhere)
		}
	}
}
