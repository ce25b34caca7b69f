package api

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

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
	if e, ok := errors.AsType[*core.Error](err); ok {
		view.Kind, view.Hint, view.Candidates = string(e.Kind), e.Hint, e.Candidates
		if e.Public == "" && e.Err != nil { // the kind is for code
			view.Message = strings.Replace(view.Message, e.Error(), e.Err.Error(), 1)
		}
	}
	if view.Hint == "" {
		view.Hint = fileHint(err)
	}
	return view
}

// fileHint is what to do about a file or folder that cannot be used; empty where err is
// about something else.
func fileHint(err error) string {
	var at *fs.PathError
	if !errors.As(err, &at) {
		return ""
	}
	switch {
	case errors.Is(at, fs.ErrPermission):
		return "run ogp as the user whose that is, or change who may use it: ls -ld " + filepath.Dir(at.Path) + " " + at.Path
	case errors.Is(at, syscall.ENOTDIR):
		return "a file stands where a folder is to be: move " + inTheWay(at.Path) + " away"
	case errors.Is(at, syscall.EISDIR):
		return "a folder stands where a file is to be: move " + at.Path + " away"
	case errors.Is(at, syscall.ENOSPC):
		return "free some space where " + at.Path + " is"
	case errors.Is(at, syscall.EROFS):
		return at.Path + " is on a read-only disk: name a place on another"
	}
	return ""
}

// inTheWay is the nearest thing on the way to a path that is there.
func inTheWay(path string) string {
	for dir := path; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil {
			return dir
		}
	}
	return path
}
