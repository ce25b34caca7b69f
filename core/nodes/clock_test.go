package nodes_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/nodes"
)

// What most clocks say is right, the database's among them; a node alone is not judged.
func TestJudgeClocks(t *testing.T) {
	const unknown = 1 << 30
	for _, c := range []struct {
		ahead []int // of the database, in seconds, by node
		want  string
	}{
		{[]int{0, 0, 0}, ""},
		{[]int{300}, ""},
		{[]int{0, 300}, "1"},
		{[]int{0, -300}, "1"},
		{[]int{0, 29, -29}, ""},
		{[]int{0, 0, 31}, "2"},
		{[]int{300, 301, 300}, ""},  // the database's is wrong
		{[]int{300, 301, 0}, "0 1"}, // as many: the nearer to the database's
		{[]int{300, 300, 300, 0}, "3"},
		{[]int{unknown, 300}, ""}, // the other is of a version that does not say
		{[]int{unknown, 0, -300}, "2"},
	} {
		var all []nodes.View
		for i, by := range c.ahead {
			v := nodes.View{ID: fmt.Sprint(i), Started: time.Unix(int64(i), 0), Version: "1", Config: "x", Modules: "m", Alive: true}
			if by != unknown {
				v.ClockMs = new(int64(by) * 1000)
			}
			all = append(all, v)
		}
		if got := differing(all); got != c.want {
			t.Errorf("%v s: %q take no work, want %q", c.ahead, got, c.want)
		}
	}
}

// A node whose clock is wrong says so in its log, takes no work and no envelopes, and does
// again when the clock is right. Alone it says so, and goes on.
func TestClockOfANode(t *testing.T) {
	c := config.Default()
	off := -5 * time.Minute
	var log bytes.Buffer
	others := &table{}
	n := nodes.New(nodes.Options{Store: others, Version: "1", Config: func() *config.Config { return &c }, Modules: func() string { return "m" },
		Lag: func() time.Duration { return 0 }, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return time.Now().Add(off) }})
	look := func(works bool, note, says string) {
		t.Helper()
		log.Reset()
		if err := n.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.Untimely(); n.Works() != works || (err == nil) != works || err != nil && !errors.Is(err, core.Unavailable) {
			t.Errorf("Works = %v, Untimely = %v, want %v", n.Works(), err, works)
		}
		if got := n.ClockNote(); (got == "") != (note == "") || !strings.Contains(got, note) {
			t.Errorf("ClockNote = %q, want %q", got, note)
		}
		if !strings.Contains(log.String(), says) || says == "" && log.Len() > 0 {
			t.Errorf("the log says %q, want %q", log.String(), says)
		}
	}
	look(true, "5m0s behind that of the database", "level=ERROR msg=\"the clock of this node is 5m0s behind")
	look(true, "5m0s behind that of the database", "") // said once
	another := fmt.Sprintf(`{"version":"1","config":%q,"modules":"m","clockMs":0}`, nodes.Hash(&c))
	others.others = []core.NodeRecord{{ID: "two", Started: time.Unix(1, 0), Data: another}}
	look(false, "", "this node takes no work: its clock is 5m0s behind")
	if !strings.Contains(others.data, `"clockMs":-29`) {
		t.Errorf("it has said of itself %s, want how far its clock is behind", others.data)
	}
	off = 20 * time.Second
	look(true, "", "takes work again")
}
