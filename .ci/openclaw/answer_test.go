//go:build unix

package openclaw

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
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

// TestAgentAnswersByA2A has a real OpenClaw answer over its A2A channel, as openclaw_answers
// says: nobody types and no tool is called. In between the daemon is killed after the agent
// has answered and before the reply is kept: it comes back all the same, once, of one run.
func TestAgentAnswersByA2A(t *testing.T) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if os.Getenv("OGP_E2E_INSTALL") == "" || os.Getenv("OGP_E2E_BINARY") == "" {
		t.Fatal("run .ci/openclaw-e2e, which installs OpenClaw and builds ogp")
	}
	dir := os.Getenv("OGP_E2E_DIR") + "/a2a"
	m := newModel(t)
	claw := newOpenClaw(t, dir, m.server.URL)
	claw.answers(t, "lab-a2a-token-9d1f")
	claw.start(ctx, t)
	r := newRelay(t, claw.url())
	ada := newGateway(t, dir, "ada", "OGP_DELIVERY_NOTIFIERS=log")
	// Ben names no token: it is that of the peer ogp in OpenClaw's own configuration.
	ben := newGateway(t, dir, "ben", "OGP_OPENCLAW_URL="+r.server.URL, "OPENCLAW_CONFIG_PATH="+claw.config(), "OGP_DELIVERY_NOTIFIERS=log",
		"OGP_OPENCLAW_ANSWERS=all")
	ada.start(ctx, t)
	ben.start(ctx, t)
	ada.run(ctx, t, "federation", "request", ben.url(), "--alias", "ben")
	ben.run(ctx, t, "federation", "approve", ada.run(ctx, t, "whoami", "--fingerprint"), "--alias", "ada")
	until(ctx, t, "ada is approved", func() bool { return strings.Contains(ada.run(ctx, t, "federation", "list"), "approved") })
	t.Logf("ben's notifiers:\n%s%s", ben.output(ctx, t, "notify", "list"), ben.output(ctx, t, "notify", "test", "a2a"))

	ask := func(question, answer string) <-chan string {
		m.mu.Lock()
		m.answer = answer
		m.mu.Unlock()
		said := make(chan string, 1)
		go func() {
			cmd := exec.CommandContext(ctx, os.Getenv("OGP_E2E_BINARY"), "federation", "send", "ben", "message", question, "--wait", "--timeout", "150s")
			cmd.Env = ada.env
			out, _ := cmd.CombinedOutput() // what it says is looked at
			said <- string(out)
		}()
		return said
	}
	answers := 0
	for { // OpenClaw's agent may fail soon after a start, before the model is asked: that is an answer, too
		answers++
		said := <-ask("a question QUESTION-1-77aa", "A2A-ANSWER-ONE-5e0c")
		if strings.Contains(said, "A2A-ANSWER-ONE-5e0c") {
			break
		}
		if answers == 3 || !strings.Contains(said, "another OpenClaw process owns") {
			t.Fatalf("the answer is %q, want that of the agent; ben's log ends\n%s", said, ben.process.tail())
		}
		t.Logf("OpenClaw is not ready yet, and says so: %s", said)
		time.Sleep(5 * time.Second)
	}

	t.Log("ben is killed when the agent has answered and ogp has not heard so")
	swallowed := r.swallowThat("TASK_STATE_COMPLETED")
	said := ask("a question QUESTION-2-b0b1", "A2A-ANSWER-TWO-c93d")
	select {
	case <-swallowed:
	case <-time.After(patience):
		t.Fatalf("the agent has not answered:\n%s", ben.process.tail())
	}
	ben.process.kill()
	ben.start(ctx, t)
	if got := <-said; !strings.Contains(got, "A2A-ANSWER-TWO-c93d") {
		t.Fatalf("the answer is %q, want that of the agent; ben's log ends\n%s", got, ben.process.tail())
	}
	// The second turn has the first question in its memory: it is the same conversation.
	for question, turns := range map[string]int{"QUESTION-1-77aa": 2, "QUESTION-2-b0b1": 1} {
		if n := m.turns(question); n != turns {
			t.Errorf("%d turns of the agent with %s, want %d", n, question, turns)
		}
	}
	acts := ben.output(ctx, t, "events", "--type", "agent", "--since", "1h")
	if n := strings.Count(acts, "agent.replied"); n != answers+1 {
		t.Errorf("the agent's answers as events: %d, want %d:\n%s", n, answers+1, acts)
	}
	until(ctx, t, "nothing waits at ben", func() bool { return ben.waiting(ctx, t) == 0 })
}
