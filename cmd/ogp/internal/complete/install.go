package complete

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
)

// installCommand puts the completion of the user's shell where the shell looks for it.
func installCommand(a *cli.App, root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "install", Short: "Install the completion for your shell", Args: cobra.NoArgs,
		Long: "Install the completion for the shell that SHELL names: bash, zsh or fish.\n\n  ogp completion install",
		RunE: func(*cobra.Command, []string) error {
			home := a.Getenv("HOME")
			if home == "" {
				return cli.Usagef("HOME is not set")
			}
			under := func(variable, otherwise string, more ...string) string {
				base := a.Getenv(variable)
				if base == "" {
					base = filepath.Join(home, otherwise)
				}
				return filepath.Join(append([]string{base}, more...)...)
			}
			var script bytes.Buffer
			var path, next string
			var err error
			switch shell := filepath.Base(a.Getenv("SHELL")); shell {
			case "bash":
				path = under("XDG_DATA_HOME", ".local/share", "bash-completion", "completions", "ogp")
				next = "open a new shell to use it; it needs the package bash-completion"
				err = root.GenBashCompletionV2(&script, true)
			case "zsh":
				path = filepath.Join(home, ".zfunc", "_ogp")
				next = `~/.zshrc needs, once: fpath+=~/.zfunc; autoload -U compinit; compinit`
				err = root.GenZshCompletion(&script)
			case "fish":
				path = under("XDG_CONFIG_HOME", ".config", "fish", "completions", "ogp.fish")
				next = "open a new shell to use it"
				err = root.GenFishCompletion(&script, true)
			default:
				return cli.UsageHint("\"ogp completion --help\" shows how to do it by hand", "SHELL is %q: want bash, zsh or fish", a.Getenv("SHELL"))
			}
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if err := atomicfile.WriteFile(path, script.Bytes()); err != nil {
				return err
			}
			return a.Print(map[string]string{"installed": path}, func() {
				fmt.Fprintf(a.Out, "Installed %s\n", path)
				fmt.Fprintf(a.Err, "Next: %s\n", next)
			})
		},
	}
}
