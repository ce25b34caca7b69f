package notify

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/settings"
)

// What the running gateway does not take up goes from the file again, unless somebody else
// has written it meanwhile.
func TestWhatDoesNotComeIntoForceIsTakenBack(t *testing.T) {
	const before, theirs = "# mine\ndisplay_name = \"Ada\"\n", "display_name = \"Ben\"\n"
	for _, c := range []struct {
		name      string
		file      string // empty: there is none
		takes     bool   // the gateway takes it up
		same      bool   // the notifier is in use, with other settings
		meanwhile string // is written by somebody else
		want      string // a part of what the file is then; empty: there is none
	}{
		{name: "as it was", file: before, want: before},
		{name: "none as there was none"},
		{name: "somebody else's stays", file: before, meanwhile: theirs, want: theirs},
		{name: "other settings of one in use", file: before, same: true, want: before},
		{name: "in force", file: before, takes: true, want: "webhook"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "config.toml")
			if c.file != "" {
				if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var asked atomic.Int32
			ln, err := control.Listen(control.Path(dir))
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			gateway := &control.Server{Handlers: []control.Handler{api.Status.Handle(func(context.Context, api.None) (api.StatusView, error) {
				if asked.Add(1) == 1 && c.meanwhile != "" {
					if err := os.WriteFile(path, []byte(c.meanwhile), 0o600); err != nil {
						return api.StatusView{}, err
					}
				}
				v := api.StatusView{Notifiers: []api.NotifierView{{Health: delivery.Health{Name: logNotifier}}}}
				if c.same || c.takes && asked.Load() > 1 {
					v.Notifiers = append(v.Notifiers, api.NotifierView{Health: delivery.Health{Name: "webhook"}})
				}
				return v, nil
			}), api.Config.Handle(func(context.Context, api.ConfigParams) (v api.ConfigView, err error) {
				if c.same {
					v.Differs = []api.ConfigDifference{{Key: "plugins"}}
				}
				return v, nil
			})}}
			go func() { done <- gateway.Serve(ctx, ln) }()
			defer func() { stop(); <-done }()

			a := &cli.App{Home: dir, Out: io.Discard, Err: io.Discard, In: strings.NewReader("")}
			s := &state{app: a, dir: dir, path: path, running: true, within: 300 * time.Millisecond}
			names := []string{logNotifier, "webhook"}
			err = s.write(ctx, []settings.Setting{chooses(names), {Key: "plugins.webhook.config.url", Value: "https://a.example"}}, names)
			if took := err == nil; took != c.takes || err != nil && !strings.Contains(err.Error(), "has refused the settings") {
				t.Errorf("write = %v, taken up %v", err, c.takes)
			}
			got, err := os.ReadFile(path)
			switch {
			case c.want == "" && !errors.Is(err, fs.ErrNotExist):
				t.Errorf("a file is left: %s", got)
			case c.want != "" && (err != nil || !strings.Contains(string(got), c.want) || !c.takes && string(got) != c.want):
				t.Errorf("the file is %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
