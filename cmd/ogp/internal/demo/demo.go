// Package demo plays two gateways that meet, with real processes.
package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
)

// Command is "ogp demo".
func Command(a *cli.App) *cobra.Command {
	var slow, keep bool
	cmd := &cobra.Command{
		Use: "demo", Short: "Show two gateways meeting, on this machine", Args: cobra.NoArgs,
		Long: `Start a rendezvous and two gateways, Ada's and Ben's, in a temporary directory, and
let them meet, talk within scopes, and part. Every line is a command that you could
type, with its real output. Everything is removed at the end.

  ogp demo --slow`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return play(cmd.Context(), a, slow, keep)
		},
	}
	cmd.Flags().BoolVar(&slow, "slow", false, "pause at each step")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the gateways running, to try more")
	return cmd
}

// demo is a play of real processes.
type demo struct {
	app   *cli.App
	ctx   context.Context
	dir   string
	self  string
	pause time.Duration
	steps []demoStep // for --json
	seen  string     // what was printed last
}

// demoStep is one command of the demo and what came of it.
type demoStep struct {
	Title   string `json:"title"`
	Command string `json:"command"`
	Output  string `json:"output"`
	Exit    int    `json:"exit"`
}

// rendezvousPID is the file that says which process the rendezvous is.
const rendezvousPID = "rendezvous.pid"

const slowPause = 1500 * time.Millisecond

func play(ctx context.Context, a *cli.App, slow, keep bool) (err error) {
	d := &demo{app: a, ctx: ctx}
	if slow {
		d.pause = slowPause
	}
	if d.self, err = os.Executable(); err != nil {
		return err
	}
	// A short path: a state directory holds a socket.
	if d.dir, err = os.MkdirTemp("", "ogp-demo-"); err != nil {
		return err
	}
	defer func() {
		if keep && err == nil {
			return
		}
		d.stopAll()
		if e := os.RemoveAll(d.dir); err == nil {
			err = e
		}
	}()
	if err := d.play(); err != nil {
		return err
	}
	if a.JSON {
		a.WriteJSON(d.steps)
	}
	if keep {
		out := a.Out
		if a.JSON {
			out = a.Err
		}
		fmt.Fprintf(out, "\nBoth gateways are still running. Talk to them:\n\n  ogp --home %s status\n  ogp --home %s status\n\nTo stop them and clean up:\n\n  ogp --home %s stop; ogp --home %s stop; kill $(cat %s); rm -r %s\n",
			d.home("ada"), d.home("ben"), d.home("ada"), d.home("ben"), filepath.Join(d.dir, rendezvousPID), d.dir)
		return nil
	}
	if a.JSON {
		return nil
	}
	fmt.Fprintln(a.Out, "\nThat was the demo. Nothing is left behind. To start your own gateway: ogp start")
	return nil
}

func (d *demo) home(who string) string { return filepath.Join(d.dir, who) }

// say begins a chapter.
func (d *demo) say(title string) {
	d.steps = append(d.steps, demoStep{Title: title})
	if d.app.JSON {
		return
	}
	fmt.Fprintf(d.app.Out, "\n%s\n", d.app.Bold(d.app.Out, "# "+title))
}

// command runs one command as a process and gives its exit status and all that
// it printed.
func (d *demo) command(who string, args ...string) (int, string, error) {
	ctx := d.ctx
	if args[0] == "start" { // interrupted, it would leave a daemon that does not listen to "stop" yet
		ctx = context.WithoutCancel(ctx)
	}
	return d.commandUntil(ctx, who, args...)
}

func (d *demo) commandUntil(ctx context.Context, who string, args ...string) (int, string, error) {
	c := exec.CommandContext(ctx, d.self, args...)
	c.Env = []string{"OGP_HOME=" + d.home(who), "HOME=" + d.dir, "PATH=" + d.app.Getenv("PATH"), "NO_COLOR=1"}
	cli.Detach(c) // Ctrl-C is for the demo, which ends what it has started in order
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return exit.ExitCode(), out.String(), nil
	}
	return 0, out.String(), errors.Join(err, ctx.Err())
}

func (d *demo) show(who, output string, code int, args ...string) {
	line := who + "$ ogp " + cli.Quoted(args...)
	d.steps = append(d.steps, demoStep{Title: d.steps[len(d.steps)-1].Title, Command: line, Output: output, Exit: code})
	if d.app.JSON {
		return
	}
	fmt.Fprintf(d.app.Out, "%s\n", d.app.Bold(d.app.Out, line))
	if output != "" {
		fmt.Fprint(d.app.Out, strings.TrimRight(output, "\n")+"\n")
	}
	select {
	case <-time.After(d.pause):
	case <-d.ctx.Done():
	}
}

// run runs a command and shows it.
func (d *demo) run(who string, args ...string) (int, error) {
	code, out, err := d.command(who, args...)
	if err != nil {
		return code, fmt.Errorf("demo: ogp %s: %w\n%s", cli.Quoted(args...), err, out)
	}
	d.seen = out
	d.show(who, out, code, args...)
	return code, nil
}

func (d *demo) must(who string, args ...string) error {
	code, err := d.run(who, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("demo: ogp %s: exit status %d: %s", cli.Quoted(args...), code, d.seen)
	}
	return err
}

func (d *demo) quietly(who string, args ...string) error {
	code, out, err := d.command(who, args...)
	d.seen = out
	if err == nil && code != 0 {
		err = fmt.Errorf("demo: ogp %s: exit status %d: %s", cli.Quoted(args...), code, out)
	}
	return err
}

// rendezvous starts one at any free port, and waits until it says which.
func (d *demo) rendezvous() (address string, err error) {
	args := []string{"rendezvous", "--listen", "127.0.0.1:0"}
	said, err := os.Create(filepath.Join(d.dir, "rendezvous.out"))
	if err != nil {
		return "", err
	}
	defer said.Close()
	c := exec.Command(d.self, append([]string{"--home", d.home("rendezvous")}, args...)...)
	c.Env, c.Stdout, c.Stderr = []string{"HOME=" + d.dir}, said, said
	cli.Detach(c)
	if err := c.Start(); err != nil {
		return "", err
	}
	d.show("rendezvous", "", 0, args...)
	if err := os.WriteFile(filepath.Join(d.dir, rendezvousPID), fmt.Append(nil, c.Process.Pid), 0o600); err != nil {
		return "", err
	}
	var text []byte
	for range 1500 {
		if text, err = os.ReadFile(said.Name()); err != nil {
			return "", err
		}
		if _, rest, ok := strings.Cut(string(text), "Rendezvous is listening on "); ok {
			if address, _, ok := strings.Cut(rest, "\n"); ok {
				return address, nil
			}
		}
		select {
		case <-d.ctx.Done():
			return "", d.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return "", fmt.Errorf("demo: the rendezvous does not listen: %s", text)
}

// stopAll ends what the demo has started, also after Ctrl-C.
func (d *demo) stopAll() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 10*time.Second)
	defer cancel()
	for _, who := range []string{"ada", "ben"} {
		d.commandUntil(ctx, who, "stop")
	}
	if text, err := os.ReadFile(filepath.Join(d.dir, rendezvousPID)); err == nil {
		var pid int
		if fmt.Sscan(string(text), &pid); pid > 0 {
			if p, err := os.FindProcess(pid); err == nil {
				p.Signal(os.Interrupt)
				p.Wait()
			}
		}
	}
}
