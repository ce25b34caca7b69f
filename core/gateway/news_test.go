package gateway_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/store/postgres"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// However many messages come and go, no node is notified of one: each NOTIFY would have the
// commits of all wait for its lock. A change of a peer is notified of.
func TestMessagesAreNoNewsOverNodes(t *testing.T) {
	at := storetest.Postgres(t)
	nodes := nodesOf(t, 2, func() core.Store {
		s, err := postgres.Open(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	})
	p := befriend(t, nodes[0].Gateway, nil)
	send := func(to *rig) {
		t.Helper()
		got, err := to.ReceiveMessage(t.Context(), p.message(t, to.Key(), nil))
		if err != nil || got.Status != http.StatusOK {
			t.Errorf("a message: %d, %v", got.Status, err)
		}
		if _, err := to.Send(t.Context(), p.key, gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{}`)}); err != nil {
			t.Error(err)
		}
	}
	send(nodes[0]) // the first one changes what is known of the peer
	conn, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), "LISTEN ogp_changed"); err != nil {
		t.Fatal(err)
	}
	// heard is how many were notified of before now: they come in the order of the commits.
	heard := func() (n int) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), "NOTIFY ogp_changed, 'now'"); err != nil {
			t.Fatal(err)
		}
		for ; ; n++ {
			got, err := conn.WaitForNotification(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.Payload == "now" {
				return n
			}
		}
	}
	var busy sync.WaitGroup
	for i := range 100 {
		to := nodes[i%2]
		busy.Go(func() { send(to) })
	}
	busy.Wait()
	if n := heard(); n != 0 {
		t.Errorf("%d were notified of 100 messages each way, want none", n)
	}
	if _, err := nodes[1].SetAlias(t.Context(), p.key, "bob"); err != nil {
		t.Fatal(err)
	}
	if heard() == 0 {
		t.Error("no node is notified of a peer's new name")
	}
}
