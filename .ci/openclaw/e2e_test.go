//go:build unix

// Package openclaw holds the end-to-end test against the real OpenClaw gateway, with a mock
// model behind it. It needs OpenClaw and node from the npm registry, about 90 s and 900 MB:
// .ci/openclaw-e2e installs them and runs it. "go test ./..." does not reach here, as the
// folder's name begins with a dot.
package openclaw

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// quiet is how long we go on listening for what must not come: a second telling. ogp tries
// again after 2 s at the most here.
const quiet = 8 * time.Second

// TestOpenClaw federates two gateways, one of which has a real OpenClaw behind it, and
// counts how often the model's prompts contain each message: once, also when ogp or
// OpenClaw is killed in between.
func TestOpenClaw(t *testing.T) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if os.Getenv("OGP_E2E_INSTALL") == "" || os.Getenv("OGP_E2E_BINARY") == "" {
		t.Fatal("run .ci/openclaw-e2e, which installs OpenClaw and builds ogp")
	}
	// Registered first, so that it runs when all that was started has ended.
	t.Cleanup(func() { os.Remove(os.Getenv("OGP_E2E_GROUPS")) })
	dir := os.Getenv("OGP_E2E_DIR")
	model := newModel(t)
	claw := newOpenClaw(t, dir, model.server.URL)
	claw.start(ctx, t)
	relay := newRelay(t, claw.url())

	ada := newGateway(t, dir, "ada", "OGP_DELIVERY_NOTIFIERS=log")
	// Ben names no token: it is the hooks.token of OpenClaw's own configuration file.
	ben := newGateway(t, dir, "ben", "OGP_OPENCLAW_URL="+relay.server.URL, "OPENCLAW_CONFIG_PATH="+claw.config(),
		"OGP_DELIVERY_FIRST_RETRY=500ms", "OGP_DELIVERY_MAX_RETRY=2s")
	ada.start(ctx, t)
	ben.start(ctx, t)

	ada.run(ctx, t, "federation", "request", ben.url(), "--alias", "ben")
	until(ctx, t, "the model hears that a request waits", func() bool { return model.saw("[OGP Federation Request]") > 0 })
	ben.run(ctx, t, "federation", "approve", ada.run(ctx, t, "whoami", "--fingerprint"), "--alias", "ada")
	until(ctx, t, "ada is approved", func() bool {
		return strings.Contains(ada.run(ctx, t, "federation", "list"), "approved")
	})

	markers := []string{}
	say := func(marker string) {
		markers = append(markers, marker)
		ada.run(ctx, t, "federation", "send", "ben", "message", "hello from ada "+marker)
	}
	heard := func(what string) {
		t.Helper()
		until(ctx, t, "the model hears of "+what, func() bool { return model.saw(what) > 0 })
		until(ctx, t, "nothing waits at ben", func() bool { return ben.waiting(ctx, t) == 0 })
	}

	say("MARKER-PLAIN-7c1f")
	heard("MARKER-PLAIN-7c1f")
	t.Logf("what the model was asked:\n%s", model.prompt("MARKER-PLAIN-7c1f"))

	t.Log("ogp is killed after OpenClaw took the message and before ogp heard so")
	swallowed := relay.swallow()
	say("MARKER-KILLED-TELLING-2b90")
	var taken post
	select {
	case taken = <-swallowed:
	case <-time.After(patience):
		t.Fatalf("ben told OpenClaw nothing:\n%s", ben.process.tail())
	}
	ben.process.kill()
	if taken.status != 200 || taken.runID == "" {
		t.Fatalf("OpenClaw did not take it: %v", taken)
	}
	ben.start(ctx, t)
	heard("MARKER-KILLED-TELLING-2b90")
	posts := relay.posts(taken.key)
	t.Logf("posts with that key: %v", posts)
	if len(posts) < 2 {
		t.Errorf("ben told it %d times under key %s, want again after the kill", len(posts), taken.key)
	}
	for _, p := range posts {
		if p.runID != taken.runID {
			t.Errorf("a second run: %v, the first was %v", p, taken)
		}
	}

	time.Sleep(quiet) // a second run would have reached the model before OpenClaw is killed

	t.Log("OpenClaw is down while the message arrives, and ogp is killed before it is up again")
	claw.process.kill()
	say("MARKER-DOWN-e43d")
	until(ctx, t, "it waits at ben", func() bool { return ben.waiting(ctx, t) > 0 })
	ben.process.kill()
	ben.start(ctx, t)
	if n := ben.waiting(ctx, t); n == 0 {
		t.Errorf("nothing waits at ben after the kill, want the message")
	}
	claw.start(ctx, t)
	heard("MARKER-DOWN-e43d")

	markers = append(markers, "MARKER-AGENT-90aa")
	ada.run(ctx, t, "federation", "agent", "ben", "planning", "a question MARKER-AGENT-90aa")
	heard("MARKER-AGENT-90aa")

	ada.run(ctx, t, "federation", "remove", "ben")
	heard("[OGP Federation Removed]")

	time.Sleep(quiet)
	for _, marker := range append(markers, "[OGP Federation Removed]") {
		n := model.saw(marker)
		t.Logf("%-28s %d time(s) in %d prompts", marker, n, model.asked())
		if n != 1 {
			t.Errorf("the model's prompts contain %s %d times, want once", marker, n)
		}
	}
}
