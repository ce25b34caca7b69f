package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// wrap gives an error of the database its kind. Errors of ours and of contexts pass
// unchanged.
func (r *reader) wrap(doing string, err error) error {
	var ours *core.Error
	var answered *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return err
	case r.queue.Closed():
		return rows.ErrClosed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	e := &core.Error{Kind: core.Unavailable, Public: "store: " + doing, Err: err, RetryAfter: 2 * healEvery,
		Hint: "check the database " + r.name + " and the connection to it; ogp tries again every few seconds"}
	if doing == "open" { // nobody runs yet who could
		e.Hint = "check the database " + r.name + " and the connection to it, and start again"
	}
	var damaged *rows.DamagedError
	switch {
	case errors.As(err, &damaged):
		e.Hint = "a row of the database " + r.name + " was changed by somebody else; restore it from its backup"
	case !errors.As(err, &answered):
	case answered.Code == "53100": // disk full
		e.Kind, e.Hint = core.Full, "the disk of the database "+r.name+" is full: free some space and try again"
	case inClass(answered.Code, "22", "23", "42"): // data, constraint, statement
		e.Kind, e.Hint = core.Internal, ""
		if answered.Code == "42501" {
			e.Kind, e.Hint = core.Unavailable, "give the user of the connection string the right to make tables in the database "+r.name
		}
	case inClass(answered.Code, "28") || answered.Code == "3D000": // who we are, or a database that there is not
		e.Hint = "look at user, password and database of the connection string"
	}
	return e
}

// inClass reports whether a server's code for an error is of one of some classes.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
func inClass(code string, classes ...string) bool {
	return slices.ContainsFunc(classes, func(class string) bool { return strings.HasPrefix(code, class) })
}
