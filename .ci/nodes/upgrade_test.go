package nodes

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// versions are those of the nodes that are at work, sorted.
func (c *cluster) versions(t *testing.T) (out []string) {
	t.Helper()
	var views []api.NodeView
	if err := c.nodes[0].try(t.Context(), "nodes", api.None{}, &views); err != nil {
		t.Fatal(err)
	}
	for _, v := range views {
		if v.Alive {
			out = append(out, v.Version)
		}
		if v.Differs != "" {
			t.Errorf("the node %s of version %s takes no work: %s", v.ID, v.Version, v.Differs)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// upgrade gives each node in turn the next version, which has a migration more, while a peer
// writes and is written to. In the middle one of the new and one of the old are killed, and
// start again beside each other. Nothing is refused, lost or doubled. Then a version comes
// that takes something away.
func (c *cluster) upgrade(t *testing.T) {
	next := os.Getenv("OGP_NODES_NEXT")
	if next == "" {
		t.Skip("OGP_NODES_NEXT names no program: .ci/nodes-run builds it")
	}
	p := c.peers[1]
	c.drain(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	statuses, acked := map[int]int{}, acknowledged{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				status := c.post(t, p, core.IntentMessage, c.front.URL)
				mu.Lock()
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	const from = 100 * ofSender // of no phase before
	for sender := range 2 {
		wg.Go(func() {
			for n := from + sender*ofSender; ctx.Err() == nil; n++ {
				if c.any().try(ctx, "send", api.SendParams{Peer: p.Key().String(), Intent: core.IntentMessage, Payload: payload(n)}, nil) == nil {
					acked.add(n)
				} else {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	again := func(n *node) {
		n.start()
		c.front.await(t, n)
	}
	change := func(n *node) {
		n.end(t)
		n.program = next
		again(n)
	}
	time.Sleep(300 * time.Millisecond)
	change(c.nodes[0])
	change(c.nodes[1])
	time.Sleep(2500 * time.Millisecond) // every node says what it is
	if got := c.versions(t); len(got) != 2 {
		t.Errorf("halfway the nodes are of the versions %q, want two", got)
	}
	for _, n := range []*node{c.nodes[1], c.nodes[2]} { // a new one, and an old one
		n.kill()
		time.Sleep(200 * time.Millisecond)
		again(n)
	}
	change(c.nodes[2])
	stop()
	wg.Wait()
	t.Logf("answers: %v", statuses)
	if len(statuses) != 1 || statuses[http.StatusOK] < 200 {
		t.Errorf("an upgrade has the answers %v, want 200 alone", statuses)
	}
	c.drain(t)
	list, err := p.Store.Inbox(t.Context(), core.InboxFilter{Limit: 1_000_000, Oldest: true})
	if err != nil {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(numbers(t, texts(list)), func(n int) bool { return n < from })
	check(t, "the peer", &acked, got)
	c.tooOld(t)
}

// texts are the messages that payload made.
func texts(list []*core.InboxMessage) []*core.InboxMessage {
	return slices.DeleteFunc(list, func(m *core.InboxMessage) bool { return !strings.HasPrefix(string(m.Message.Payload), `{"text":"1`) })
}

// tooOld has a node of the version before at work while something is taken away: it says so
// and takes no work, and does not start again.
func (c *cluster) tooOld(t *testing.T) {
	n, next := c.nodes[2], c.nodes[2].program
	n.end(t)
	n.program = os.Getenv("OGP_NODES_OGP")
	n.start()
	c.front.await(t, n)
	db, err := pgx.Connect(t.Context(), c.db.url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.Background())
	var valid bool
	if err := db.QueryRow(t.Context(), "SELECT indisvalid FROM pg_index WHERE indexrelid = 'log_colour'::regclass").Scan(&valid); err != nil || !valid {
		t.Errorf("the index of the next version is valid: %v, %v, want true", valid, err)
	}
	takes := func(format int) {
		t.Helper()
		if _, err := db.Exec(t.Context(), "UPDATE head SET least = $1", format); err != nil {
			t.Fatal(err)
		}
	}
	takes(99999)
	defer takes(4)
	for deadline := time.Now().Add(15 * time.Second); n.ready(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a node that is too old stays ready")
		}
	}
	if status := c.post(t, c.peers[1], core.IntentMessage, n.url()); status != http.StatusServiceUnavailable {
		t.Errorf("a node that is too old answers %d, want 503", status)
	}
	if status := c.post(t, c.peers[1], core.IntentMessage, c.nodes[0].url()); status != http.StatusOK {
		t.Errorf("beside it a node answers %d, want 200", status)
	}
	n.end(t)
	cmd := exec.Command(n.program, "start", "--listen", "127.0.0.1", "--daemon-port", "0")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(one string) bool { return strings.HasPrefix(one, "OGP_") }), "HOME="+filepath.Dir(n.dir))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "too old for the database") {
		t.Errorf("a node that is too old starts: %v\n%s", err, out)
	}
	takes(4)
	n.program = next
	n.start()
	c.front.await(t, n)
}
