package sqlite

import (
	"regexp"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestPlans holds the queries to their indexes: none walks all of a table that
// grows, but for those that are meant to.
func TestPlans(t *testing.T) {
	s := openTest(t, t.TempDir())
	grows := regexp.MustCompile(`^SCAN (inbox|events|letters|deliveries|outbox|replies|kv|i|e|o)\b`)
	meant := map[queryID]string{
		dueByEvent:  "SCAN deliveries",                             // in the order of the primary key, to the limit
		nextOutbox:  "SCAN outbox USING COVERING INDEX outbox_due", // to the first
		deadByEvent: "SCAN deliveries USING INDEX deliveries_dead",
	}
	for id, q := range queries {
		rows, err := s.read.Query("EXPLAIN QUERY PLAN "+q, make([]any, strings.Count(q, "?"))...)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		scans := ""
		if err := each(rows, func(row scanner) error {
			var node, parent, unused int
			var line string
			err := row.Scan(&node, &parent, &unused, &line)
			if grows.MatchString(line) {
				scans += line
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if scans != meant[queryID(id)] {
			t.Errorf("plan has %q, want %q, for %s", scans, meant[queryID(id)], q)
		}
	}
}

// TestFilterPlans: what the filter of deliveries can be put together to never
// sorts or walks more than a page of what grows.
func TestFilterPlans(t *testing.T) {
	s := openTest(t, t.TempDir())
	plan := func(q string, args []any) (lines []string) {
		rows, err := s.read.Query("EXPLAIN QUERY PLAN "+q, args...)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		if err := each(rows, func(row scanner) error {
			var node, parent, unused int
			var line string
			err := row.Scan(&node, &parent, &unused, &line)
			lines = append(lines, line)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return lines
	}
	n := 0
	for _, f := range []core.DeliveryFilter{{}, {Notifier: "a"}, {EventID: "a"}, {Dead: true}, {Dead: true, Notifier: "a"}, {EventID: "a", Notifier: "b", Dead: true}, {After: "a"}} {
		q, args := deliveriesQuery(f)
		n++
		for _, line := range plan(q, args) {
			if regexp.MustCompile(`^SCAN (deliveries|events|inbox)$`).MatchString(line) {
				t.Errorf("%q for %s", line, q)
			}
		}
	}
	if n < 7 {
		t.Errorf("%d queries, want all that the filters can make", n)
	}
}
