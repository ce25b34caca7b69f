package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	examples "github.com/opengatewayprotocol/ogp/examples/plugins"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
)

// play is the demo, step by step.
func (d *demo) play() error {
	d.say("A rendezvous, and two gateways that know it")
	address, err := d.rendezvous()
	if err != nil {
		return err
	}
	for _, who := range []string{"Ada", "Ben"} {
		if err := d.must(strings.ToLower(who), "start", "--background", "--no-save", "--daemon-port", "0", "--listen", "127.0.0.1", "--display-name", who,
			"--network-allow-private", "127.0.0.0/8", "--rendezvous-enabled", "--rendezvous-url", "http://"+address); err != nil {
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
	if err := d.overRate(); err != nil {
		return err
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
	if !d.app.JSON {
		fmt.Fprintf(d.app.Out, "(and Ben's command prints)\n%s", out)
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
	for name, content := range map[string][]byte{"secret-scrubber.wasm": examples.SecretScrubber, "plugin.toml": examples.SecretScrubberManifest} {
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
	if code != cli.Refused {
		return fmt.Errorf("demo: the policy did not refuse: %s", d.seen)
	}
	return nil
}

// overRate has Ben send until Ada's gateway refuses.
func (d *demo) overRate() error {
	for range 6 {
		if code, err := d.run("ben", "federation", "send", "ada", "message", "one more", "--now"); err != nil || code == cli.Refused {
			break
		}
	}
	if !strings.Contains(d.seen, "Rate limit") {
		return fmt.Errorf("demo: the rate limit was not met; the last answer was: %s", d.seen)
	}
	return nil
}
