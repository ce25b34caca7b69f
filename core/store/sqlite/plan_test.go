package sqlite

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestPlans holds all queries that the store can build to their indexes: none walks
// or sorts all of a table that grows, but for those that are meant to.
func TestPlans(t *testing.T) {
	s := openTest(t, t.TempDir())
	grows := regexp.MustCompile(`^SCAN (log|l|deliveries|outbox|o|replies|kv)\b|USE TEMP B-TREE FOR ORDER BY`)
	meant := map[string]string{
		queries[dueByTime]:     "USE TEMP B-TREE FOR ORDER BY", // of few
		queries[outboxByNonce]: "USE TEMP B-TREE FOR ORDER BY", // of those of one nonce
		queries[ourReply]:      "USE TEMP B-TREE FOR ORDER BY", // of those under one nonce
		queries[receiptsSince]: "USE TEMP B-TREE FOR ORDER BY", // of the newest, turned round
		eachHash:               "",                             // all of an index: a start
	}
	all := append(append([]string{}, queries[:]...), writes[:]...)
	all = append(all, oldReceipts, oldRows, oldOutbox, oldReplies, eachHash)
	for _, notifier := range []string{"", "a"} {
		for _, dead := range []bool{false, true} {
			for _, below := range []int64{0, 9} {
				q, _ := deliveriesQuery(core.DeliveryFilter{Notifier: notifier, Dead: dead, Limit: 1}, 3, below)
				all = append(all, q)
			}
		}
	}
	for _, q := range all {
		rows, err := s.read.Query("EXPLAIN QUERY PLAN "+q, make([]any, parameters(q))...)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		var plan []string
		bad := ""
		if err := each(rows, func(row scanner) error {
			var node, parent, unused int
			var line string
			err := row.Scan(&node, &parent, &unused, &line)
			plan = append(plan, line)
			if grows.MatchString(line) {
				bad += line
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if bad != meant[q] {
			t.Errorf("plan has %q, want %q, for %s\n%s", bad, meant[q], q, strings.Join(plan, "\n"))
		}
	}
}

// parameters counts those of a query, numbered or not.
func parameters(q string) int {
	n := 0
	for _, m := range regexp.MustCompile(`\?(\d*)`).FindAllStringSubmatch(q, -1) {
		if m[1] == "" {
			n++
		} else {
			fmt.Sscan(m[1], new(int))
			var i int
			fmt.Sscan(m[1], &i)
			n = max(n, i)
		}
	}
	return n
}

// TestWriterPlansOnce: no statement of the writer is prepared anew for each run.
func TestWriterPlansOnce(t *testing.T) {
	for _, q := range writes {
		if strings.Contains(q, "LIMIT ?") {
			t.Errorf("%s: want LIMIT +?, as a bare one is planned anew for each value", q)
		}
	}
}
