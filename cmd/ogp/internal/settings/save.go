// Package settings saves what flags have set, where the configuration file lacks it.
package settings

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/settings"
)

// Kept is what became of settings that were given as flags.
type Kept struct {
	File    string
	Saved   []string // keys that the file lacked, and has now
	Differs []string // keys for which the file has another value, which the flags override
	Lasting []string // commands that keep what was not saved
}

// forOneRun are settings that a flag is for one run only.
func forOneRun(g config.Given) bool {
	return g.Key == "daemon_port" && g.Text == "0" || strings.HasPrefix(g.Key, "log.")
}

// Keep saves the settings that flags have set and the file lacks. With save false
// it only says what it would do. What the environment sets is left alone, and so
// are ports that are picked anew each time and what the log is to show.
func Keep(a *cli.App, dir string, flags *pflag.FlagSet, save bool) (Kept, error) {
	k := Kept{File: settings.Path(a.File, dir)}
	given := config.GivenFlags(flags)
	if len(given) == 0 {
		return k, nil
	}
	_, origins, _, err := config.Load(config.Options{Home: dir, File: a.File, Env: a.Env})
	if err != nil {
		return k, err
	}
	var changes []settings.Setting
	for _, g := range given {
		s, err := settings.Parse(g.Key, g.Text)
		if err != nil {
			return k, err
		}
		switch origins.Of(g.Key).Layer {
		case config.LayerFile:
			if !settings.Has(k.File, s) {
				k.Differs = append(k.Differs, g.Key)
			}
		case config.LayerDefault:
			if forOneRun(g) {
				continue
			}
			changes = append(changes, s)
			k.Saved = append(k.Saved, g.Key)
			k.Lasting = append(k.Lasting, a.Command("config", "set", g.Key, g.Text))
		}
	}
	if !save || len(changes) == 0 {
		return k, nil
	}
	if err := settings.Write(a.Env, dir, k.File, changes); err != nil {
		k.Saved = nil
		return k, err
	}
	k.Lasting = nil
	return k, nil
}

// Tell says what became of flags, on standard error. err is why they were not saved.
// With wanted, that they are not is what the user asked for.
func Tell(a *cli.App, k Kept, err error, wanted bool) {
	if err != nil {
		fmt.Fprintf(a.Err, "warning: the flags are not saved, and apply to this run only: %s\n", term.SafeLine(api.ErrorOf(err).Message))
	}
	if len(k.Saved) > 0 && len(k.Lasting) == 0 {
		fmt.Fprintf(a.Err, "Saved %s in %s\n", strings.Join(k.Saved, ", "), k.File)
	}
	if len(k.Differs) > 0 {
		fmt.Fprintf(a.Err, "note: %s: the flag applies to this run, and %s has another value\n", strings.Join(k.Differs, ", "), k.File)
	}
	if len(k.Lasting) > 0 && err == nil && !wanted {
		fmt.Fprintf(a.Err, "The flags apply to this run only. To keep them: %s\n", strings.Join(k.Lasting, "; "))
	}
}
