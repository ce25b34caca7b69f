package nodes_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/nodes"
)

func TestJudge(t *testing.T) {
	start := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	node := func(id string, n int, version, config, modules string) nodes.View {
		return nodes.View{ID: id, Started: start.Add(time.Duration(n) * time.Minute), Version: version, Config: config, Modules: modules, Alive: true}
	}
	dead := node("dead", 0, "1", "old", "old")
	dead.Alive = false
	for _, c := range []struct {
		name string
		all  []nodes.View
		want string // those that differ
	}{
		{"one alone", []nodes.View{node("a", 1, "1", "x", "m")}, ""},
		{"all the same", []nodes.View{node("a", 1, "1", "x", "m"), node("b", 2, "1", "x", "m")}, ""},
		{"the newer of two differs", []nodes.View{node("b", 2, "1", "y", "m"), node("a", 1, "1", "x", "m")}, "b"},
		{"the oldest of three differs", []nodes.View{node("a", 1, "1", "x", "m"), node("b", 2, "1", "y", "m"), node("c", 3, "1", "y", "m")}, "a"},
		{"one has other modules", []nodes.View{node("a", 1, "1", "x", "m"), node("b", 2, "1", "x", "m"), node("c", 3, "1", "x", "n")}, "c"},
		{"one loads its modules", []nodes.View{node("a", 1, "1", "x", "m"), node("b", 2, "1", "x", "")}, ""},
		{"the oldest loads its modules", []nodes.View{node("a", 1, "1", "x", ""), node("b", 2, "1", "x", "m")}, ""},
		{"another version", []nodes.View{node("a", 1, "1", "x", "m"), node("b", 2, "2", "y", "n")}, ""},
		{"one that is not heard of", []nodes.View{dead, node("a", 1, "1", "x", "m")}, ""},
	} {
		if got := differing(c.all); got != c.want {
			t.Errorf("%s: %q differ, want %q", c.name, got, c.want)
		}
	}
}

// differing judges nodes, and names those that differ.
func differing(all []nodes.View) string {
	nodes.Judge(all)
	var differ []string
	for _, v := range all {
		if v.Differs != "" {
			differ = append(differ, v.ID)
		}
	}
	return strings.Join(differ, " ")
}

// What is a node's own may differ, what peers and the agent meet may not.
func TestHash(t *testing.T) {
	base := config.Default()
	own, other := config.Default(), config.Default()
	own.DaemonPort, own.Metrics.Listen, own.Log.Level = 1, "127.0.0.1:1", "debug"
	other.Freshness.Window = time.Hour
	if nodes.Hash(&own) != nodes.Hash(&base) {
		t.Error("where a node listens and how it logs makes its configuration another")
	}
	if nodes.Hash(&other) == nodes.Hash(&base) {
		t.Error("the window makes no difference")
	}
}

// table is a core.NodeTable of one node.
type table struct {
	data   string
	others []core.NodeRecord
}

func (*table) Node() string { return "one" }
func (t *table) Beat(_ context.Context, _ core.PublicKey, data string) (time.Time, error) {
	t.data = data
	return time.Now(), nil
}
func (t *table) Nodes(context.Context) ([]core.NodeRecord, error) {
	return append([]core.NodeRecord{{ID: "one", Data: t.data}}, t.others...), nil
}
func (*table) Leave(context.Context) error { return nil }

// A node works once it has looked, and shows what it has said of itself.
func TestLook(t *testing.T) {
	c := config.Default()
	n := nodes.New(nodes.Options{Store: &table{}, Version: "1", Config: func() *config.Config { return &c },
		Modules: func() string { return "m" }, Lag: func() time.Duration { return time.Second }, Log: slog.New(slog.DiscardHandler)})
	if n.Works() {
		t.Error("it works before it has looked")
	}
	if err := n.Look(t.Context()); err != nil || !n.Works() {
		t.Errorf("Look = %v, Differs = %q, want that it works", err, n.Differs())
	}
	all, err := n.List(t.Context())
	if err != nil || len(all) != 1 || !all[0].Self || all[0].LagMs != 1000 || all[0].Modules != "m" || all[0].Config != nodes.Hash(&c) {
		t.Errorf("List = %+v, %v, want what it has said", all, err)
	}
	alone := nodes.New(nodes.Options{Store: nil})
	if !alone.Works() {
		t.Error("a node alone does not work")
	}
}
