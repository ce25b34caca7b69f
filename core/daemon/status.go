package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/doctor"
	"github.com/opengatewayprotocol/ogp/core/daemon/service"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

func (d *Daemon) status(ctx context.Context, _ api.None) (api.StatusView, error) {
	s := d.gateway.Settings()
	depths, err := d.dispatcher.Depths(ctx, core.ManyWait)
	if err != nil && d.store.Health() == nil { // otherwise a note says it
		return api.StatusView{}, err
	}
	v := api.StatusView{
		Running: true, PID: os.Getpid(), Version: d.o.Version, Started: d.gateway.Started(), StateDir: d.dir,
		Listen: d.public.Addr().String(), GatewayURL: s.URL, CardURL: s.URL + federation.PathCard,
		Fingerprint: d.gateway.Key().Fingerprint(), PublicKey: d.gateway.Key(), DisplayName: s.Names.DisplayName,
		Peers: map[string]int{}, Depths: depths,
	}
	d.statusOfPeers(ctx, &v)
	v.Restart = d.restart()
	if v.Log = d.logPlace(); v.Log == LogJournal {
		v.Unit = service.UnitArgs()
	}
	d.statusOfParts(ctx, &v)
	for _, h := range d.dispatcher.Health() {
		v.Notifiers = append(v.Notifiers, d.notifierView(h, depths))
	}
	v.Warnings = d.warningsNow()
	return v, nil
}

// warningsNow is what the operator should know at a glance.
func (d *Daemon) warningsNow() []string {
	out := append(d.storeNote(), d.notes...)
	if why := d.nodes.Differs(); why != "" {
		out = append(out, "this node takes no work: "+why+"; \"ogp status --nodes\" shows all")
	}
	if note := d.nodes.ClockNote(); note != "" {
		out = append(out, note)
	}
	if p, ok := d.unheard(d.dispatcher.Names()); ok {
		out = append(out, p.Text+"; "+p.Fix)
	}
	for _, p := range d.config().CheckSecrets(nil) {
		out = append(out, p.What+": what needs this secret fails until it can be read")
	}
	for _, name := range d.idleNotifiers() {
		out = append(out, fmt.Sprintf("the notifier %s is notified of nothing, as delivery.notifiers does not name it: \"ogp notify use %s --add\"", name, name))
	}
	if d.listensTooNarrow() {
		out = append(out, "listening on this machine alone, as the gateway URL was on localhost at the start; to restart it: "+d.restart())
	}
	if strings.HasPrefix(d.gateway.Settings().URL, "http://localhost") {
		out = append(out, "the gateway URL is on localhost, so that only gateways on this machine can answer: \"ogp config set gateway_url https://<your host>\" changes it")
	}
	moved, deaf := d.gateway.Moved(), []*core.Peer{}
	moved = slices.DeleteFunc(moved, func(p *core.Peer) bool {
		if peers.HearsOfMoves(p) {
			return false
		}
		deaf = append(deaf, p)
		return true
	})
	if len(moved) > 0 {
		out = append(out, "not yet told of the new gateway URL: "+namesOf(moved)+
			"; they are tried every ten minutes, and \"ogp federation update-identity --all\" tries now")
	}
	if len(deaf) > 0 {
		out = append(out, "cannot be told of the new gateway URL, as their versions are from before 0.4: "+namesOf(deaf)+
			"; let their operators ask for federation at "+d.gateway.Settings().URL)
	}
	return out
}

// namesOf names the first few of some peers.
func namesOf(peers []*core.Peer) string {
	names := make([]string, 0, mostShown)
	for _, p := range peers[:min(len(peers), mostShown)] {
		names = append(names, p.Name())
	}
	if more := len(peers) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// idleNotifiers are the plugins that notify and that nobody has named in
// delivery.notifiers.
func (d *Daemon) idleNotifiers() (out []string) {
	named := d.dispatcher.Names()
	for _, n := range d.hooks.Notifiers() {
		if !slices.Contains(named, n.Name()) {
			out = append(out, n.Name())
		}
	}
	return out
}

func (d *Daemon) whoami(context.Context, api.None) (api.WhoamiView, error) {
	return whoami(d.gateway.Key(), d.gateway.Settings()), nil
}

func whoami(k core.PublicKey, s ours.Settings) api.WhoamiView {
	return api.WhoamiView{DisplayName: s.Names.DisplayName, Email: s.Names.Email, GatewayURL: s.URL, CardURL: s.URL + federation.PathCard,
		Fingerprint: k.Fingerprint(), Words: k.FingerprintWords(), ID: k.ID(), PublicKey: k}
}

// recent is how far back a status looks for failures.
const recent = 24 * time.Hour

// mostShown is how many peers or errors a status shows.
const mostShown = 5

// failures are the last events that say that something went wrong.
type failures struct {
	mu   sync.Mutex // guards last
	last []core.Event
}

func (f *failures) add(e core.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last = append(f.last, e); len(f.last) > mostShown {
		f.last = slices.Delete(f.last, 0, 1)
	}
}

// newestFirst gives those of the last day.
func (f *failures) newestFirst() []core.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.DeleteFunc(slices.Clone(f.last), func(e core.Event) bool { return time.Since(e.At) > recent })
	slices.Reverse(out)
	return out
}

// watchFailures keeps the last failures for the status.
func (d *Daemon) watchFailures(ctx context.Context) error {
	err := d.follow(ctx, idAt(time.Now().Add(-recent)), true, func(e core.Event) error {
		if e.Type == core.EventDeliveryFailed || e.Type == core.EventWarning {
			d.failures.add(e)
		}
		return nil
	})
	if err != nil { // the gateway itself does not need them
		d.log.Error("the status will not show the last errors", "err", err)
	}
	return nil
}

// statusOfPeers adds to the status how the peers do. It looks at each, and makes nothing of
// those that it does not name.
func (d *Daemon) statusOfPeers(ctx context.Context, v *api.StatusView) {
	var spent []core.PublicKey // by whom, as in v.Budgets
	for state, n := range d.gateway.PeerStates() {
		v.Peers[string(state)] = n
	}
	v.Health = map[string]int{}
	now, within := time.Now(), 2*d.gateway.Settings().Health.Interval
	for p := range d.gateway.PeersFrom(peers.Place{}, "") {
		if d.paused(p.Key) != nil {
			v.Paused = append(v.Paused, p.Name())
		}
		for b := range d.used(p) {
			i, _ := slices.BinarySearchFunc(v.Budgets, b, func(x api.SpentView, b api.BudgetView) int {
				return cmp.Or(cmp.Compare(b.Used.Messages, x.Used.Messages), -1) // behind those that are as many
			})
			if i < mostShown {
				v.Budgets = slices.Insert(v.Budgets, i, api.SpentView{Name: p.Name(), BudgetView: b})
				v.Budgets = v.Budgets[:min(len(v.Budgets), mostShown)]
				spent = slices.Insert(spent, i, p.Key)[:len(v.Budgets)]
			}
		}
		if p.Trust != core.Approved {
			continue
		}
		h := d.gateway.Health(p.Key)
		word := h.Word(now, within)
		v.Health[cmp.Or(word, "not checked yet")]++
		if (h.Outbound == peering.Degraded || h.Outbound == peering.Down) && len(v.Ailing) < mostShown {
			v.Ailing = append(v.Ailing, api.AilingView{Name: p.Name(), Word: word, LastContact: later(h.LastSuccess, h.LastInbound), Error: h.LastError})
		}
	}
	d.across(ctx, func(yield func(core.PublicKey, *api.BudgetView) bool) {
		for i := range v.Budgets {
			if !yield(spent[i], &v.Budgets[i].BudgetView) {
				return
			}
		}
	})
}

// statusOfParts adds to the status how the parts do.
func (d *Daemon) statusOfParts(ctx context.Context, v *api.StatusView) {
	if d.rendezvous != nil { // before we run, there is none
		v.Rendezvous = d.registrations()
	}
	for _, p := range d.hooks.List() {
		if problems := d.pluginProblems(p); len(problems) > 0 || p.State != hooks.StateReady {
			v.Plugins = append(v.Plugins, api.PluginState{Name: p.Name, State: p.State, Problems: problems})
		}
	}
	for _, e := range d.failures.newestFirst() {
		if d.isOver(ctx, e) {
			continue
		}
		v.LastErrors = append(v.LastErrors, d.eventView(e))
	}
}

// isOver reports whether a failure is none any more: an approval that did not arrive, to a
// peer that has taken a later one, has said since that it has us approved, or is not
// approved now.
func (d *Daemon) isOver(ctx context.Context, e core.Event) bool {
	var data struct {
		Kind     core.OutboxKind `json:"kind"`
		Notifier string          `json:"notifier"`
	}
	if e.Type == core.EventWarning && json.Unmarshal(e.Data, &data) == nil && data.Notifier != "" {
		return d.tookSince(data.Notifier, e.At)
	}
	if e.Type != core.EventDeliveryFailed || json.Unmarshal(e.Data, &data) != nil || data.Kind != core.OutApprove {
		return false
	}
	p := d.gateway.Peer(e.Peer)
	if p == nil || p.Trust != core.Approved || p.Asking.Sure.After(e.At) {
		return true
	}
	taken, err := d.store.Outbox(ctx, core.OutboxFilter{Peer: e.Peer, State: core.OutSent, Limit: 100})
	return err == nil && slices.ContainsFunc(taken, func(x *core.OutboxItem) bool { return x.Kind == core.OutApprove && x.Done.After(e.At) })
}

// tookSince reports whether a notifier has taken something after a time, an event or a
// test call.
func (d *Daemon) tookSince(name string, at time.Time) bool {
	if v, ok := d.tests.Load(name); ok && v.(doctor.TestResult).Detail == "" && v.(doctor.TestResult).At.After(at) {
		return true
	}
	return d.dispatcher != nil && slices.ContainsFunc(d.dispatcher.Health(), func(h delivery.Health) bool { return h.Name == name && h.LastSuccess.After(at) })
}

// listensTooNarrow reports whether the configuration has gone public since the start,
// and the listener has not.
func (d *Daemon) listensTooNarrow() bool {
	address, ok := d.public.Addr().(*net.TCPAddr)
	return ok && address.IP.IsLoopback() && d.config().Listen == "" && !d.config().IsLocal()
}
