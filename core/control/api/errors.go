package api

import (
	"errors"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
)

// ErrorView is an error, as "--json" prints it.
type ErrorView struct {
	Kind       string   `json:"kind"`
	Message    string   `json:"message"`
	Hint       string   `json:"hint,omitempty"`
	Candidates []string `json:"candidates,omitempty"`
}

// ErrorOf shows an error. The kind is "failed" for one that is no *core.Error.
func ErrorOf(err error) ErrorView {
	view := ErrorView{Kind: "failed", Message: err.Error()}
	var e *core.Error
	if errors.As(err, &e) {
		view.Kind, view.Hint, view.Candidates = string(e.Kind), e.Hint, e.Candidates
		if e.Public == "" && e.Err != nil { // the kind is for code
			view.Message = strings.Replace(view.Message, e.Error(), e.Err.Error(), 1)
		}
	}
	return view
}
