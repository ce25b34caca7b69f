package postgres

import (
	"strconv"
	"strings"
)

// where are the conditions of a query and their arguments.
type where struct {
	conds []string
	args  []any
}

// arg adds an argument and returns how the query names it.
func (w *where) arg(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

// add adds a condition, which ends with one argument, several in a row, or none.
func (w *where) add(cond string, args ...any) {
	names := make([]string, len(args))
	for i, v := range args {
		names[i] = w.arg(v)
	}
	list := strings.Join(names, ", ")
	if len(args) > 1 {
		list = "(" + list + ")"
	}
	w.conds = append(w.conds, cond+list)
}

func (w *where) text() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}
