//go:build unix

package openclaw

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// TestAgentAnswers has "ogp agent install" give a real OpenClaw the tools, and a peer ask
// with --wait: nobody types, and the agent's answer comes back by the tool that the notice
// names.
func TestAgentAnswers(t *testing.T) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if os.Getenv("OGP_E2E_INSTALL") == "" || os.Getenv("OGP_E2E_BINARY") == "" {
		t.Fatal("run .ci/openclaw-e2e, which installs OpenClaw and builds ogp")
	}
	dir := os.Getenv("OGP_E2E_DIR") + "/answers"
	m := newModel(t)
	claw := newOpenClaw(t, dir, m.server.URL)
	ada := newGateway(t, dir, "ada", "OGP_DELIVERY_NOTIFIERS=log")
	ben := newGateway(t, dir, "ben", "OGP_OPENCLAW_URL="+claw.url(), "OPENCLAW_CONFIG_PATH="+claw.config(), "OPENCLAW_STATE_DIR="+claw.dir)
	ada.start(ctx, t)
	ben.start(ctx, t)
	ben.run(ctx, t, "agent", "install", "openclaw", "--yes")
	claw.start(ctx, t)
	ada.run(ctx, t, "federation", "request", ben.url(), "--alias", "ben")
	ben.run(ctx, t, "federation", "approve", ada.run(ctx, t, "whoami", "--fingerprint"), "--alias", "ada")
	until(ctx, t, "ada is approved", func() bool { return strings.Contains(ada.run(ctx, t, "federation", "list"), "approved") })

	for _, word := range []string{"ANSWER-ONE-61d2", "ANSWER-TWO-0b7c"} {
		m.mu.Lock()
		m.answer = word
		m.mu.Unlock()
		said := ada.run(ctx, t, "federation", "send", "ben", "message", "a question that "+word[:10]+" answers", "--wait", "--timeout", "150s")
		if !strings.Contains(said, word) {
			m.mu.Lock()
			t.Fatalf("the answer is %q, want %s; the model had the tools %v", said, word, m.tools)
		}
	}
	acts := ben.output(ctx, t, "events", "--type", "agent", "--since", "1h")
	if n := strings.Count(acts, "agent.replied"); n != 2 {
		t.Errorf("the agent's answers as events: %d, want 2:\n%s", n, acts)
	}
}
