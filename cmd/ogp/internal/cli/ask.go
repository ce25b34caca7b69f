package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
)

// Confirm asks on the terminal. Where there is none, the answer is no, and the
// error says how to say it.
func (a *App) Confirm(question string) error {
	file, _ := a.In.(*os.File) // nil has no info
	if info, err := file.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return core.Refuse(core.Forbidden, "this needs a confirmation").WithHint("--yes confirms it")
	}
	fmt.Fprintf(a.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.In).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); err != nil || answer != "y" && answer != "yes" {
		return core.Refuse(core.Forbidden, "not confirmed; nothing has changed")
	}
	return nil
}

// Passphrase asks for a passphrase, which a terminal does not show; twice where it is a
// new one. Where there is no terminal it is the first line of standard input.
func (a *App) Passphrase(isNew bool) (string, error) {
	if !a.Interactive() {
		line, err := bufio.NewReader(io.LimitReader(a.In, maxPassphrase)).ReadString('\n')
		if line = strings.TrimRight(strings.TrimPrefix(line, "\ufeff"), "\r\n"); line == "" {
			return "", Usagef("the passphrase is empty: standard input has none in its first line")
		} else if err != nil && err != io.EOF {
			return "", err
		}
		return line, nil
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(a.Err, prompt)
		text, err := term.ReadHidden(a.In)
		fmt.Fprintln(a.Err)
		return text, err
	}
	p, err := ask("Passphrase: ")
	if err != nil {
		return "", err
	}
	if p == "" {
		return "", core.Refuse(core.Malformed, "the passphrase is empty")
	}
	if isNew {
		again, err := ask("Repeat it: ")
		if err != nil {
			return "", err
		}
		if again != p {
			return "", core.Refuse(core.Malformed, "the two passphrases differ; nothing has changed")
		}
	}
	return p, nil
}

// maxPassphrase bounds what is read of standard input, in bytes.
const maxPassphrase = 64 << 10

// Interactive reports whether a person types.
func (a *App) Interactive() bool {
	f, ok := a.In.(*os.File)
	return ok && term.IsTerminal(f)
}
