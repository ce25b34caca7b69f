package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	exampleplugins "github.com/opengatewayprotocol/ogp/examples/plugins"
)

func demoCommand(a *app) *cobra.Command {
	var slow, keep bool
	cmd := &cobra.Command{
		Use: "demo", Short: "Show two gateways meeting, on this machine", Args: cobra.NoArgs,
		Long: `Start a rendezvous and two gateways, Ada's and Ben's, in a temporary directory,
and let them meet, talk within scopes, and part. Every line is a command that you
could type, and what it prints is what came. Nothing is left behind.

  ogp demo --slow`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.demo(cmd.Context(), slow, keep)
		},
	}
	cmd.Flags().BoolVar(&slow, "slow", false, "wait a moment at each step")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the gateways running, to go on playing")
	return cmd
}

// demo is a play of real processes.
type demo struct {
	app   *app
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

func (a *app) demo(ctx context.Context, slow, keep bool) (err error) {
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
	if a.json {
		a.writeJSON(d.steps)
	}
	if keep {
		out := a.out
		if a.json {
			out = a.err
		}
		fmt.Fprintf(out, "\nBoth gateways go on. Talk to them:\n\n  ogp --home %s status\n  ogp --home %s status\n\nEnd it:\n\n  ogp --home %s stop; ogp --home %s stop; kill $(cat %s); rm -r %s\n",
			d.home("ada"), d.home("ben"), d.home("ada"), d.home("ben"), filepath.Join(d.dir, rendezvousPID), d.dir)
		return nil
	}
	if a.json {
		return nil
	}
	fmt.Fprintln(a.out, "\nThat was all of it. Nothing is left behind. Yours: ogp start")
	return nil
}

func (d *demo) home(who string) string { return filepath.Join(d.dir, who) }

// play is the demo, step by step.
func (d *demo) play() error {
	port, err := freePort()
	if err != nil {
		return err
	}
	rendezvous := fmt.Sprintf("http://127.0.0.1:%d", port)
	d.say("A rendezvous, and two gateways that know it")
	if err := d.background("rendezvous", "rendezvous", "--listen", strings.TrimPrefix(rendezvous, "http://")); err != nil {
		return err
	}
	for _, who := range []string{"Ada", "Ben"} {
		if err := d.must(strings.ToLower(who), "start", "--background", "--daemon-port", "0", "--listen", "127.0.0.1", "--display-name", who,
			"--network-allow-private", "127.0.0.0/8", "--rendezvous-enabled", "--rendezvous-url", rendezvous); err != nil {
			return err
		}
	}
	d.say("Ada makes an invite; Ben accepts it. The long form pins Ada's key")
	if err := d.must("ada", "federation", "invite"); err != nil {
		return err
	}
	_, long, _ := strings.Cut(d.seen, "pins your key: ")
	long, _, _ = strings.Cut(long, "\n")
	if err := d.must("ben", "federation", "accept", strings.TrimSpace(long), "--alias", "ada"); err != nil {
		return err
	}
	d.say("Ada sees who asks, and approves with scopes: two intents, five messages a minute, two topics")
	if err := d.must("ada", "federation", "list", "--status", "pending"); err != nil {
		return err
	}
	if err := d.quietly("ben", "whoami", "--fingerprint"); err != nil {
		return err
	}
	ben := strings.TrimSpace(d.seen)
	if err := d.must("ada", "federation", "approve", ben, "--alias", "ben", "--intents", "message,agent-comms", "--rate", "5/60", "--topics", "general,planning"); err != nil {
		return err
	}
	d.say("A message")
	if err := d.must("ben", "federation", "send", "ada", "message", "Hello Ada!"); err != nil {
		return err
	}
	if err := d.must("ada", "inbox", "list"); err != nil {
		return err
	}
	d.say("A question from agent to agent, with a signed answer")
	if err := d.question(); err != nil {
		return err
	}
	d.say("A policy of Ada's own, written in AssemblyScript, refuses what looks like a secret")
	if err := d.policy(); err != nil {
		return err
	}
	d.say("The rate that Ada granted holds")
	for range 6 {
		if code, err := d.run("ben", "federation", "send", "ada", "message", "one more", "--now"); err != nil || code == exitRefused {
			break
		}
	}
	if !strings.Contains(d.seen, "Rate limit") {
		return fmt.Errorf("demo: the rate limit was not met; the last answer was: %s", d.seen)
	}
	d.say("Ada parts, and both sides know")
	if err := d.must("ada", "federation", "remove", "ben"); err != nil {
		return err
	}
	if err := d.must("ben", "federation", "list"); err != nil {
		return err
	}
	if !strings.Contains(d.seen, "removed") {
		return errors.New("demo: Ben's gateway did not notice the removal")
	}
	return nil
}

// question asks in one process while another answers.
func (d *demo) question() error {
	asked := make(chan error, 1)
	var out string
	go func() {
		code, text, err := d.command("ben", "federation", "agent", "ada", "planning", "When are you free?", "--wait")
		out = text
		if err == nil && code != 0 {
			err = fmt.Errorf("demo: asking failed: %s", text)
		}
		asked <- err
	}()
	d.show("ben", "", 0, "federation", "agent", "ada", "planning", "When are you free?", "--wait")
	for {
		_, text, err := d.command("ada", "inbox", "list", "--intent", "agent-comms", "--status", "new")
		if err != nil {
			return err
		}
		if strings.Contains(text, "planning") {
			break
		}
		select {
		case err := <-asked:
			return fmt.Errorf("demo: the question did not arrive: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := d.must("ada", "inbox", "reply", "last", "Thursday after four."); err != nil {
		return err
	}
	if err := <-asked; err != nil {
		return err
	}
	if !d.app.json {
		fmt.Fprintf(d.app.out, "(and Ben's command prints)\n%s", out)
	}
	if !strings.Contains(out, "Thursday") {
		return fmt.Errorf("demo: the answer did not come: %s", out)
	}
	return nil
}

// policy installs a plugin and lets it refuse a message.
func (d *demo) policy() error {
	dir := filepath.Join(d.dir, "secret-scrubber")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, content := range map[string][]byte{"secret-scrubber.wasm": exampleplugins.SecretScrubber, "plugin.toml": exampleplugins.SecretScrubberManifest} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	if err := d.must("ada", "plugin", "install", dir, "--yes"); err != nil {
		return err
	}
	code, err := d.run("ben", "federation", "send", "ada", "message", "my card is 4111 1111 1111 1111")
	if err != nil {
		return err
	}
	if code != exitRefused {
		return fmt.Errorf("demo: the policy did not refuse: %s", d.seen)
	}
	return nil
}

// say begins a chapter.
func (d *demo) say(title string) {
	d.steps = append(d.steps, demoStep{Title: title})
	if d.app.json {
		return
	}
	fmt.Fprintf(d.app.out, "\n%s\n", d.app.bold(d.app.out, "# "+title))
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
	c := exec.CommandContext(ctx, d.self, append([]string{"--home", d.home(who)}, args...)...)
	c.Env = []string{"HOME=" + d.dir, "PATH=" + d.app.getenv("PATH"), "NO_COLOR=1"}
	detach(c) // Ctrl-C is for the demo, which ends what it has started in order
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return exit.ExitCode(), out.String(), nil
	}
	return 0, out.String(), errors.Join(err, ctx.Err())
}

func (d *demo) show(who, output string, code int, args ...string) {
	line := who + "$ ogp " + quoted(args)
	d.steps = append(d.steps, demoStep{Title: d.steps[len(d.steps)-1].Title, Command: line, Output: output, Exit: code})
	if d.app.json {
		return
	}
	fmt.Fprintf(d.app.out, "%s\n", d.app.bold(d.app.out, line))
	if output != "" {
		fmt.Fprint(d.app.out, strings.TrimRight(output, "\n")+"\n")
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
		return code, fmt.Errorf("demo: ogp %s: %w\n%s", quoted(args), err, out)
	}
	d.seen = out
	d.show(who, out, code, args...)
	return code, nil
}

func (d *demo) must(who string, args ...string) error {
	code, err := d.run(who, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("demo: ogp %s: exit status %d: %s", quoted(args), code, d.seen)
	}
	return err
}

func (d *demo) quietly(who string, args ...string) error {
	code, out, err := d.command(who, args...)
	d.seen = out
	if err == nil && code != 0 {
		err = fmt.Errorf("demo: ogp %s: exit status %d: %s", quoted(args), code, out)
	}
	return err
}

// background starts a command that goes on, and waits until it listens.
func (d *demo) background(who string, args ...string) error {
	c := exec.Command(d.self, append([]string{"--home", d.home(who)}, args...)...)
	c.Env = []string{"HOME=" + d.dir}
	detach(c)
	if err := c.Start(); err != nil {
		return err
	}
	d.show(who, "", 0, args...)
	if err := os.WriteFile(filepath.Join(d.dir, rendezvousPID), fmt.Append(nil, c.Process.Pid), 0o600); err != nil {
		return err
	}
	address := args[len(args)-1]
	for range 200 {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			return conn.Close()
		}
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("demo: nobody listens on %s", address)
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

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// quoted writes arguments as a shell would want them.
func quoted(args []string) string {
	out := make([]string, len(args))
	for i, s := range args {
		if s == "" || strings.ContainsAny(s, " '\"!$?*<>|&;()") {
			s = "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
		out[i] = s
	}
	return strings.Join(out, " ")
}
