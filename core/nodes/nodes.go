// Package nodes knows the gateways that share a store: each says what it is made of, and
// one whose configuration or modules are not those of the others takes no work.
//
// docs/scaling.md#nodes
package nodes

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
)

const (
	// every is how often a node says that it is there, and looks at the others.
	every = 2 * time.Second
	// Alive is how long a node counts that is not heard of.
	Alive = 10 * time.Second
)

// Said is what a node says of itself.
type Said struct {
	Host    string `json:"host"`
	Version string `json:"version"`
	Config  string `json:"config"`            // hash of the configuration, without what is a node's own
	Modules string `json:"modules,omitempty"` // hash of the plugins' modules; empty: they are being loaded
	LagMs   int64  `json:"lagMs"`             // how old what it holds in memory is, in milliseconds
	ClockMs *int64 `json:"clockMs,omitempty"` // how far its clock is ahead of the store's, at the least; nil: not known
}

// View is a node, as any of them sees it.
type View struct {
	ID      string    `json:"id"`
	Self    bool      `json:"self,omitempty"`
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Config  string    `json:"config"`
	Modules string    `json:"modules,omitempty"`
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"`
	LagMs   int64     `json:"lagMs"`
	ClockMs *int64    `json:"clockMs,omitempty"`
	Leases  []string  `json:"leases"` // a thousand of all nodes, at the most
	Alive   bool      `json:"alive"`
	Differs string    `json:"differs,omitempty"` // why it takes no work

	untimely bool // as its clock differs
}

// Options are what Nodes are made of.
type Options struct {
	Store   any // one that is no core.NodeTable has one node alone
	Key     core.PublicKey
	Version string
	Config  func() *config.Config
	Modules func() string // hash of the modules in force; empty: they are being loaded
	Lag     func() time.Duration
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Nodes are those that share a store. Safe for concurrent use.
type Nodes struct {
	o     Options
	table core.NodeTable // nil: there is one node alone
	host  string

	mu       sync.Mutex // guards the rest
	looked   bool
	differs  string
	untimely bool          // as our clock differs
	timed    bool          // skew is known
	noted    bool          // the log has said what ClockNote says
	skew     time.Duration // how far our clock is ahead of the store's
	count    map[bool]int  // living nodes, by whether they take work
	at       time.Time     // when they were counted
}

// New makes Nodes, of which Look and Run say that we are one.
func New(o Options) *Nodes {
	n := &Nodes{o: o}
	if n.o.Now == nil {
		n.o.Now = time.Now
	}
	n.table, _ = o.Store.(core.NodeTable)
	var err error
	if n.host, err = os.Hostname(); err != nil {
		n.host = "a host without a name"
	}
	return n
}

// Run says that we are there, and looks at the others, until ctx is done; then it says that
// we are gone. It returns nil.
func (n *Nodes) Run(ctx context.Context) error {
	if n.table == nil {
		return nil
	}
	failing := false // said once
	look := func(ctx context.Context) {
		err := n.Look(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			n.o.Log.Warn("the other nodes cannot be seen", "err", err)
		}
		failing = err != nil
	}
	look(ctx)
	_ = core.Every(ctx, every, look)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), every)
	defer cancel()
	if err := n.table.Leave(last); err != nil {
		n.o.Log.Debug("the other nodes see by themselves that this one is gone", "err", err)
	}
	return nil
}

// Look says that we are there, and judges us by the others.
func (n *Nodes) Look(ctx context.Context) error {
	if n.table == nil {
		return nil
	}
	all, err := n.list(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(v View) bool { return v.Self })
	if i < 0 {
		return core.Refuse(core.NotFound, "this node is not among those that it reads")
	}
	differs := all[i].Differs
	n.mu.Lock()
	was := n.differs
	n.differs, n.untimely, n.looked = differs, all[i].untimely, true
	n.count, n.at = map[bool]int{}, time.Now()
	for _, v := range all {
		if v.Alive {
			n.count[v.Differs == ""]++
		}
	}
	n.mu.Unlock()
	switch {
	case differs != "" && was != differs:
		n.o.Log.Error("this node takes no work: " + differs)
	case differs == "" && was != "":
		n.o.Log.Info("this node is as the others are, and takes work again")
	}
	n.noteClock()
	return nil
}

// Differs is why this node takes no work; empty: it does.
func (n *Nodes) Differs() string {
	if n == nil || n.table == nil {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.looked {
		return "the other nodes were not seen yet"
	}
	return n.differs
}

// Works reports whether this node takes work.
func (n *Nodes) Works() bool { return n.Differs() == "" }

// Count is how many nodes are there as far as this one sees, by whether they take work. It
// is none while this one sees nobody, itself neither.
func (n *Nodes) Count() (work, differ int) {
	if n == nil || n.table == nil {
		return 1, 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.at) > Alive {
		return 0, 0
	}
	return n.count[true], n.count[false]
}

// List shows all nodes, the longest running first. There is none where one alone has the
// store.
func (n *Nodes) List(ctx context.Context) ([]View, error) {
	if n == nil || n.table == nil {
		return []View{}, nil
	}
	return n.list(ctx)
}

// list says that we are there, and reads all.
func (n *Nodes) list(ctx context.Context) ([]View, error) {
	said := Said{n.host, n.o.Version, Hash(n.o.Config()), n.o.Modules(), n.o.Lag().Milliseconds(), nil}
	if by, ok := n.Skew(); ok {
		said.ClockMs = new(by.Milliseconds())
	}
	data, err := json.Marshal(said, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	before := n.o.Now()
	now, err := n.table.Beat(ctx, n.o.Key, string(data))
	if err != nil {
		return nil, err
	}
	by := skew(before, now, n.o.Now())
	n.mu.Lock()
	n.skew, n.timed = by, true
	n.mu.Unlock()
	records, err := n.table.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]View, 0, len(records))
	for _, r := range records {
		var s Said
		if err := json.Unmarshal([]byte(r.Data), &s); err != nil { // a newer one writes more, and nothing less
			return nil, fmt.Errorf("nodes: %s: %w", r.ID, err)
		}
		if r.ID == n.table.Node() { // as we know it now
			s.ClockMs = new(by.Milliseconds())
		}
		views = append(views, View{ID: r.ID, Self: r.ID == n.table.Node(), Host: s.Host, Version: s.Version, Config: s.Config, Modules: s.Modules,
			Started: r.Started, Seen: r.Seen, LagMs: s.LagMs, ClockMs: s.ClockMs, Leases: r.Leases, Alive: r.Ago < Alive})
	}
	Judge(views)
	return views, nil
}

// Judge says of each living node whether it is as the others of its version are. What most of
// them have is right, and where as many have something else, what the one has that runs the
// longest. Nodes of another version, as while all are upgraded one after the other, have
// other plugins and settings, and are judged by themselves. The clocks are judged by those of
// all nodes.
func Judge(all []View) {
	slices.SortStableFunc(all, func(a, b View) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	usual, several := clocks(all)
	for i := range all {
		v := &all[i]
		if !v.Alive {
			continue
		}
		var what []string
		if right := most(all, v.Version, func(w View) string { return w.Config }); right.Config != v.Config {
			what = append(what, fmt.Sprintf("its configuration (%.8s) is not that of %s (%.8s)", v.Config, right.ID, right.Config))
		}
		if right := most(all, v.Version, func(w View) string { return w.Modules }); v.Modules != "" && right.Modules != v.Modules {
			what = append(what, fmt.Sprintf("its plugins (%.8s) are not those of %s (%.8s)", v.Modules, right.ID, right.Modules))
		}
		if several && v.ClockMs != nil && (v.clock()-usual).Abs() > mostApart {
			v.untimely = true
			what = append(what, "its clock is "+ahead(v.clock()-usual, "most of the nodes' and the database's")+`; set it: "timedatectl set-ntp true"`)
		}
		v.Differs = strings.Join(what, "; ")
	}
}

// most is the longest running of the living nodes of a version that have what most have.
func most(all []View, version string, of func(View) string) (right View) {
	count, best := map[string]int{}, 0
	for _, v := range all {
		if v.Alive && v.Version == version && of(v) != "" {
			count[of(v)]++
			best = max(best, count[of(v)])
		}
	}
	for _, v := range all {
		if v.Alive && v.Version == version && of(v) != "" && count[of(v)] == best {
			return v
		}
	}
	return right
}

// Hash is of a configuration in force, without what is a node's own: where it listens and
// logs, where its files lie, and secrets.
func Hash(c *config.Config) string {
	shared := *c
	shared.DaemonPort, shared.Listen, shared.Store, shared.Signer = 0, "", config.Secret{}, ""
	shared.Rendezvous.Store = config.Secret{}
	shared.Network.TrustedProxies = nil
	shared.Log, shared.Metrics, shared.A2A, shared.Console, shared.TLS = config.Log{}, config.Metrics{}, config.A2A{}, config.Console{}, config.TLS{}
	shared.Key = config.Key{}
	shared.Agent.Socket, shared.Agent.SocketGroup = "", ""
	shared.Plugins = map[string]config.PluginConfig{}
	for name, p := range c.Plugins {
		p.Path = "" // the module itself is compared
		shared.Plugins[name] = p
	}
	text, err := shared.JSON(nil, false)
	if err != nil {
		return "not readable: " + err.Error()
	}
	return sum(string(text))
}

// Sum is a hash of parts, in any order.
func Sum(parts []string) string {
	parts = slices.Clone(parts)
	slices.Sort(parts)
	return sum(strings.Join(parts, "\n"))
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}
