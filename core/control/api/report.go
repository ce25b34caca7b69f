package api

import (
	"cmp"
	"fmt"
	"slices"
)

// Report collects checks. It is used by one goroutine.
type Report []Check

// Ok says that something is as it should be.
func (r *Report) Ok(name, format string, args ...any) {
	*r = append(*r, Check{Name: name, State: CheckOK, Text: fmt.Sprintf(format, args...)})
}

// Warn says what to look at, and what fixes it.
func (r *Report) Warn(name, fix, format string, args ...any) {
	*r = append(*r, Check{Name: name, State: CheckWarn, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// Fail says what does not work, and what fixes it.
func (r *Report) Fail(name, fix, format string, args ...any) {
	*r = append(*r, Check{Name: name, State: CheckFail, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// Failed says what an error says, with its hint or else fix.
func (r *Report) Failed(name, fix string, err error) {
	view := ErrorOf(err)
	r.Fail(name, cmp.Or(view.Hint, fix), "%s", view.Message)
}

// Has reports whether a check of this name has failed.
func (r Report) Has(name string) bool {
	return slices.ContainsFunc(r, func(c Check) bool { return c.Name == name && c.State == CheckFail })
}

// NotYet ends the text about a registration that was not tried to its end.
const NotYet = "has not answered yet"
