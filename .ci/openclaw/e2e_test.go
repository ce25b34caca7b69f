//go:build unix

// Package openclaw holds the end-to-end test against the real OpenClaw gateway, with a mock
// model behind it. It needs OpenClaw and node from the npm registry, 3 to 5 minutes and 900 MB:
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

// scene is two federated gateways, of which ben has a real OpenClaw behind a relay.
type scene struct {
	ctx      context.Context
	t        *testing.T
	model    *model
	claw     *openclaw
	relay    *relay
	ada, ben *gateway
	markers  []string // of all messages that were sent: each in a prompt once
}

// TestOpenClaw federates two gateways, one of which has a real OpenClaw behind it, and
// counts how often the model's prompts contain each message: once, also when OpenClaw's
// webhooks are switched on late and their token changes, when answers are lost, and when
// ogp or OpenClaw is killed in between.
func TestOpenClaw(t *testing.T) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if os.Getenv("OGP_E2E_INSTALL") == "" || os.Getenv("OGP_E2E_BINARY") == "" {
		t.Fatal("run .ci/openclaw-e2e, which installs OpenClaw and builds ogp")
	}
	// Registered first, so that it runs when all that was started has ended.
	t.Cleanup(func() { os.Remove(os.Getenv("OGP_E2E_GROUPS")) })
	dir := os.Getenv("OGP_E2E_DIR")
	s := &scene{ctx: ctx, t: t, model: newModel(t)}
	s.claw = newOpenClaw(t, dir, s.model.server.URL)
	s.claw.start(ctx, t)
	s.relay = newRelay(t, s.claw.url())
	s.ada = newGateway(t, dir, "ada", "OGP_DELIVERY_NOTIFIERS=log")
	// Ben names no token: it is the hooks.token of OpenClaw's own configuration file.
	s.ben = newGateway(t, dir, "ben", "OGP_OPENCLAW_URL="+s.relay.server.URL, "OPENCLAW_CONFIG_PATH="+s.claw.config())
	s.ada.start(ctx, t)

	// First with pauses in which nothing is tried again by itself.
	settings := s.ben.env
	s.ben.env = append(settings[:len(settings):len(settings)], "OGP_DELIVERY_FIRST_RETRY=10m", "OGP_DELIVERY_MAX_RETRY=10m")
	s.ben.start(ctx, t)
	s.switchedOn()
	s.ben.process.kill()
	s.ben.env = append(settings[:len(settings):len(settings)], "OGP_DELIVERY_FIRST_RETRY=500ms", "OGP_DELIVERY_MAX_RETRY=2s")
	s.ben.start(ctx, t)
	s.plain()
	s.otherToken()
	s.killedTelling()
	s.lostAnswers()
	time.Sleep(quiet) // a second run would have reached the model before OpenClaw is killed
	s.down()
	s.removed()

	time.Sleep(quiet)
	for _, marker := range s.markers {
		n := s.model.saw(marker)
		t.Logf("%-28s %d time(s) in %d prompts", marker, n, s.model.asked())
		if n != 1 {
			t.Errorf("the model's prompts contain %s %d times, want once", marker, n)
		}
	}
}

func (s *scene) say(marker string) {
	s.t.Helper()
	s.markers = append(s.markers, marker)
	s.ada.run(s.ctx, s.t, "federation", "send", "ben", "message", "hello from ada "+marker)
}

func (s *scene) heard(what string) {
	s.t.Helper()
	s.until("the model hears of "+what, func() bool { return s.model.saw(what) > 0 })
	s.until("nothing waits at ben", func() bool { return s.ben.waiting(s.ctx, s.t) == 0 })
}

func (s *scene) until(what string, done func() bool) {
	s.t.Helper()
	until(s.ctx, s.t, what, done)
}

// switchedOn: OpenClaw's webhooks are off at first. The request waits, the status says what
// to do, and when that is done the agent hears of it without a restart of ogp.
func (s *scene) switchedOn() {
	s.t.Log("OpenClaw's webhooks are off")
	s.ada.run(s.ctx, s.t, "federation", "request", s.ben.url(), "--alias", "ben")
	s.until("the request waits at ben", func() bool { return s.ben.waiting(s.ctx, s.t) == 1 })
	s.until("ben's status says what to change", func() bool { return strings.Contains(s.ben.output(s.ctx, s.t, "status"), "hooks.enabled") })
	s.t.Log("and are switched on, for sessions that callers name, too")
	s.claw.hooks(s.t, map[string]any{"enabled": true, "token": hooksToken, "path": "/hooks",
		"allowRequestSessionKey": true, "allowedSessionKeyPrefixes": []string{"hook:", mainSession}})
	s.heard("[OGP Federation Request]")
}

// plain: the two are federated, and a message reaches the agent.
func (s *scene) plain() {
	s.ben.run(s.ctx, s.t, "federation", "approve", s.ada.run(s.ctx, s.t, "whoami", "--fingerprint"), "--alias", "ada")
	s.until("ada is approved", func() bool { return strings.Contains(s.ada.run(s.ctx, s.t, "federation", "list"), "approved") })
	s.say("MARKER-PLAIN-7c1f")
	s.heard("MARKER-PLAIN-7c1f")
	s.t.Logf("what the model was asked:\n%s", s.model.prompt("MARKER-PLAIN-7c1f"))
}

// otherToken: the token changes in OpenClaw's file, which ogp and OpenClaw both watch.
func (s *scene) otherToken() {
	s.t.Log("OpenClaw's token changes")
	s.claw.hooks(s.t, map[string]any{"enabled": true, "token": hooksToken + "-next", "path": "/hooks",
		"allowRequestSessionKey": true, "allowedSessionKeyPrefixes": []string{"hook:", mainSession}})
	s.say("MARKER-TOKEN-51d0") // neither may have seen it yet
	s.heard("MARKER-TOKEN-51d0")
	s.until("the old token is refused", func() bool { return s.claw.asks(s.ctx, s.t, hooksToken) == 401 })
	s.say("MARKER-TOKEN-LATER-83ab")
	s.heard("MARKER-TOKEN-LATER-83ab")
}

// killedTelling: ogp is killed after OpenClaw took the message and before ogp heard so.
func (s *scene) killedTelling() {
	s.t.Log("ogp is killed after OpenClaw took the message and before ogp heard so")
	swallowed := s.relay.swallow()
	s.say("MARKER-KILLED-TELLING-2b90")
	var taken post
	select {
	case taken = <-swallowed:
	case <-time.After(patience):
		s.t.Fatalf("ben told OpenClaw nothing:\n%s", s.ben.process.tail())
	}
	s.ben.process.kill()
	if taken.status != 200 || taken.runID == "" {
		s.t.Fatalf("OpenClaw did not take it: %v", taken)
	}
	s.ben.start(s.ctx, s.t)
	s.heard("MARKER-KILLED-TELLING-2b90")
	s.sameRun(taken.key, 2)
}

// lostAnswers: OpenClaw takes what it is told, and ogp does not hear so for several tries.
// Meanwhile more comes, and the name of the peer changes.
func (s *scene) lostAnswers() {
	s.t.Log("three answers in a row are lost")
	lost := s.relay.lose(3)
	s.say("MARKER-LOST-a-19fe")
	s.say("MARKER-LOST-b-77c2")
	s.say("MARKER-LOST-c-e01b")
	s.ben.run(s.ctx, s.t, "federation", "alias", "ada", "ada-renamed")
	keys := map[string]int{}
	for range 3 {
		select {
		case p := <-lost:
			keys[p.key]++
		case <-time.After(patience):
			s.t.Fatalf("ben told OpenClaw too little:\n%s", s.ben.process.tail())
		}
	}
	for _, marker := range s.markers[len(s.markers)-3:] {
		s.heard(marker)
	}
	for key, n := range keys {
		s.sameRun(key, n+1)
	}
	s.ben.run(s.ctx, s.t, "federation", "alias", "ada-renamed", "ada")
}

// sameRun checks that the posts with a key, of which there were several, are one run.
func (s *scene) sameRun(key string, least int) {
	s.t.Helper()
	posts := s.relay.posts(key)
	s.t.Logf("posts with that key: %v", posts)
	if len(posts) < least {
		s.t.Errorf("ben told it %d times under key %s, want %d at least", len(posts), key, least)
	}
	for _, p := range posts {
		if p.runID != posts[0].runID || p.runID == "" {
			s.t.Errorf("a second run: %v, the first was %v", p, posts[0])
		}
	}
}

// down: OpenClaw is down while the message arrives, and ogp is killed before it is up again.
func (s *scene) down() {
	s.t.Log("OpenClaw is down while the message arrives, and ogp is killed before it is up again")
	s.claw.process.kill()
	s.say("MARKER-DOWN-e43d")
	s.until("it waits at ben", func() bool { return s.ben.waiting(s.ctx, s.t) > 0 })
	s.ben.process.kill()
	s.ben.start(s.ctx, s.t)
	if n := s.ben.waiting(s.ctx, s.t); n == 0 {
		s.t.Errorf("nothing waits at ben after the kill, want the message")
	}
	s.claw.start(s.ctx, s.t)
	s.heard("MARKER-DOWN-e43d")

	s.markers = append(s.markers, "MARKER-AGENT-90aa")
	s.ada.run(s.ctx, s.t, "federation", "agent", "ben", "planning", "a question MARKER-AGENT-90aa")
	s.heard("MARKER-AGENT-90aa")
}

// removed: the removal stands in the agent's own conversation, once, and nothing else of ours
// does. It is in more than one prompt: each later turn of that conversation has it.
func (s *scene) removed() {
	const removal = "[OGP Federation Removed]"
	if n := s.claw.count(s.ctx, s.t, mainSession, "MARKER-"); n != 0 {
		s.t.Errorf("%d messages stand in %s, want them in runs of their own", n, mainSession)
	}
	s.ada.run(s.ctx, s.t, "federation", "remove", "ben")
	s.heard(removal)
	s.until("the removal stands in "+mainSession, func() bool { return s.claw.count(s.ctx, s.t, mainSession, removal) > 0 })
	if n := s.claw.count(s.ctx, s.t, mainSession, removal); n != 1 {
		s.t.Errorf("the removal stands %d times in %s, want once", n, mainSession)
	}
}
