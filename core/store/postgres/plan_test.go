package postgres

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// TestPlans holds the pages of lists to their indexes: none walks or sorts a table.
func TestPlans(t *testing.T) {
	s, err := Open(context.Background(), storetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	for _, q := range []string{
		`INSERT INTO log (seq, id, at, message, peer, intent, status, data) SELECT n, convert_to(lpad(n::text, 26, '0'), 'UTF8'), n, n % 10 > 0,
			decode(lpad(to_hex(n % 20), 64, '0'), 'hex'), 'message', CASE WHEN n % 500 = 7 THEN 'held' ELSE 'new' END, repeat('x', 300) FROM generate_series(1, 30000) n`,
		`INSERT INTO outbox (id, peer, kind, state, nonce, created, ended, data) SELECT convert_to(lpad(n::text, 26, '0'), 'UTF8'), decode(lpad(to_hex(n % 20), 64, '0'), 'hex'), 'message',
			CASE WHEN n % 500 = 7 THEN 'refused' WHEN n % 10 = 1 THEN 'waiting' ELSE 'sent' END, convert_to(n::text, 'UTF8'), n, n, repeat('x', 300) FROM generate_series(1, 30000) n`,
		`ANALYZE log`, `ANALYZE outbox`,
	} {
		if _, err := s.pool.Exec(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	walks := regexp.MustCompile(`Seq Scan|Sort`)
	look := func(name, query string, args []any) {
		t.Helper()
		plan, err := list(ctx, s.pool, func(row pgx.Rows) (line string, err error) { return line, row.Scan(&line) }, "EXPLAIN "+query, args...)
		if err != nil {
			t.Fatal(name, err)
		}
		if text := strings.Join(plan, "\n"); walks.MatchString(text) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
	peer := core.PublicKey{31: 7}
	for name, f := range map[string]core.InboxFilter{"all": {}, "of a peer": {Peer: peer}, "held": {Status: core.InboxHeld}, "new": {Status: core.InboxNew}, "oldest": {Oldest: true},
		"since": {Since: time.Unix(0, 20000)}, "held of a peer": {Peer: peer, Status: core.InboxHeld}} {
		for _, before := range []bool{false, true} {
			w := inboxWhere(f)
			if before {
				w.add("(at, seq) < ", int64(15000), int64(15000))
			}
			look("inbox, "+name, w.inbox(f), w.args)
		}
	}
	for name, f := range map[string]core.OutboxFilter{"all": {}, "of a peer": {Peer: peer}, "sent": {State: core.OutSent}, "waiting": {State: core.OutWaiting, Oldest: true}, "refused": {State: core.OutRefused},
		"waiting for a peer": {Peer: peer, State: core.OutWaiting}} {
		for _, before := range []string{"", "00000000000000000000015000"} {
			f.Before = before
			w, query := outboxQuery(f)
			look("outbox, "+name, query, w.args)
		}
	}
	look("the first that waits", `SELECT created FROM outbox WHERE state = 'waiting' ORDER BY id LIMIT 1`, nil)
}
