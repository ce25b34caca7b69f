package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
)

// Confirm asks on the terminal. Where there is none, the answer is no, and the
// error says what grants it.
func (a *App) Confirm(question string) error {
	file, ok := a.In.(*os.File)
	if info, err := fileInfo(file, ok); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		e := core.Refuse(core.Forbidden, "this needs a yes")
		e.Hint = "--yes grants what it asks for"
		return e
	}
	fmt.Fprintf(a.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.In).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); err != nil || answer != "y" && answer != "yes" {
		e := core.Refuse(core.Forbidden, "not granted; nothing has changed")
		e.Hint = "--yes grants what it asks for"
		return e
	}
	return nil
}

func fileInfo(f *os.File, ok bool) (os.FileInfo, error) {
	if !ok {
		return nil, os.ErrInvalid
	}
	return f.Stat()
}

// Interactive reports whether a person types.
func (a *App) Interactive() bool {
	f, ok := a.In.(*os.File)
	return ok && term.IsTerminal(f)
}
