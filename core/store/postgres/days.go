package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Receipts are kept by the day on which we answered, each day in a part of the table with
// its own primary key (peer, nonce), and a day that has had its time is dropped: that costs
// the same, however many there were. A row's day follows from its time, so that no name of
// a part is needed to write one, and a day that nobody has made a part for goes into
// receipts_other.
//
// That a nonce is taken once, also at midnight, does not rest on the parts: commits follow
// each other under the row of head, and each looks a nonce up in all parts before it is
// kept. The primary keys are the second judge within a day.
const (
	dayNanos = int64(24 * time.Hour)
	// daysAhead is how many days have parts before they begin: as long can the scheduled
	// work rest.
	daysAhead = 3
	// dayLock is the advisory lock of who makes or drops parts, within a transaction.
	dayLock = 0x6f677064 // "ogpd"
)

// makeDays makes the parts of today and of the days ahead that there are not.
func (s *Store) makeDays(ctx context.Context, now time.Time) error {
	today := now.UnixNano() / dayNanos
	var names []string
	for day := today; day <= today+daysAhead; day++ {
		names = append(names, dayName(day))
	}
	var there int
	if err := s.pool.QueryRow(ctx, `SELECT count(to_regclass(name)) FROM unnest($1::text[]) name`, names).Scan(&there); err != nil || there == len(names) {
		return err
	}
	for i, name := range names {
		from := (today + int64(i)) * dayNanos
		err := s.alterReceipts(ctx, fmt.Sprintf(`DO $$ BEGIN
			IF to_regclass('%[1]s') IS NULL THEN
				CREATE TABLE %[1]s (LIKE receipts INCLUDING DEFAULTS, PRIMARY KEY (peer, nonce));
				ALTER TABLE receipts ATTACH PARTITION %[1]s FOR VALUES FROM (%[2]d) TO (%[3]d);
			END IF; END $$`, name, from, from+dayNanos))
		switch {
		case err == nil:
		case answered(err, "23514"), answered(err, "42P17"), answered(err, "55P03"):
			// Its receipts are in receipts_other or receipts_before, and stay there; or others
			// are at work, and the next turn makes it.
		default:
			return err
		}
	}
	return nil
}

// dayName is what the part of a day is called, by days since 1970.
func dayName(day int64) string {
	return "receipts_" + time.Unix(0, day*dayNanos).UTC().Format("20060102")
}

// alterReceipts changes what parts there are, and waits no longer for that than a message
// may wait behind it.
func (s *Store) alterReceipts(ctx context.Context, statement string) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL lock_timeout = '1s'; SET LOCAL idle_in_transaction_session_timeout = %s; SELECT pg_advisory_xact_lock(%d); SELECT seq FROM head FOR UPDATE; `,
			idleText, dayLock)+statement)
		return err
	})
}

// part is one part of receipts.
type part struct {
	name string
	to   *int64 // it has what is before this; nil: no such time
}

// pruneReceipts drops the parts that are before a cutoff as a whole, and deletes what is in
// the two that are of no day.
func (s *Store) pruneReceipts(ctx context.Context, cutoff int64) error {
	parts, err := list(ctx, s.pool, func(row pgx.Rows) (p part, err error) {
		err = row.Scan(&p.name, &p.to)
		return p, err
	}, `SELECT c.oid::regclass::text, substring(pg_get_expr(c.relpartbound, c.oid) FROM ' TO \(''?(\d+)')::bigint
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'receipts'::regclass ORDER BY 1`)
	if err != nil {
		return err
	}
	for _, p := range parts {
		switch {
		case p.to != nil && *p.to <= cutoff:
			err = s.alterReceipts(ctx, `DROP TABLE IF EXISTS `+p.name)
			if answered(err, "55P03") { // somebody reads it: the next turn drops it
				err = nil
			}
		case p.to == nil || p.name == "receipts_before":
			err = s.pruneAll(ctx, fmt.Sprintf(`WITH gone AS (DELETE FROM %[1]s WHERE (peer, nonce) IN (SELECT peer, nonce FROM %[1]s WHERE at < $1 ORDER BY at LIMIT $2) RETURNING 1)
				SELECT count(*) FROM gone`, p.name), cutoff, pruneChunk)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
