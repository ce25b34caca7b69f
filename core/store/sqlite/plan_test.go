package sqlite

import (
	"regexp"
	"strings"
	"testing"
)

// TestPlans holds the queries to their indexes: none walks all of a table that
// grows, but for those that are meant to.
func TestPlans(t *testing.T) {
	s := openTest(t, t.TempDir())
	grows := regexp.MustCompile(`^SCAN (inbox|events|letters|deliveries|outbox|replies|kv|i|e)\b`)
	meant := map[queryID]string{
		dueByEvent:  "SCAN deliveries", // in the order of the primary key, to the limit
		deadByEvent: "SCAN deliveries USING INDEX deliveries_dead",
		nextOutbox:  "SCAN outbox USING COVERING INDEX outbox_due", // to the first
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
