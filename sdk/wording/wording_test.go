package wording

import (
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/notify"
	"github.com/opengatewayprotocol/ogp/sdk/sdktest"
)

// read gives the events of a notify input, as a plugin gets them.
func read(t *testing.T, input string) []*sdk.Event {
	t.Helper()
	defer sdk.Use(&sdktest.Host{})()
	var got []*sdk.Event
	notify.Batch(func(events []sdk.Event) sdk.Outcome {
		for i := range events {
			got = append(got, &events[i])
		}
		return sdk.Delivered()
	})
	if out, status := sdk.Run(sdk.HookNotify, input); status != 0 {
		t.Fatalf("notify = %d %s", status, out)
	}
	return got
}

func of(t *testing.T, input string, maxBytes int) string {
	t.Helper()
	return Of(read(t, input)[0], maxBytes)
}

const bob = `"peer":{"alias":"bob","fingerprint":"K5QX","id":"302a","state":"approved","names":{"displayName":"Bobby"}}`

func event(typ, more string) string {
	return `{"event":{"id":"01J","type":"` + typ + `","at":"2026-11-21T20:47:35Z","by":"them"` + more + `},` + bob + `}`
}

func message(more string) string {
	return `{"event":{"id":"01J","type":"message","at":"2026-11-21T20:47:35Z"},` + bob + `,"message":{"inboxId":"01J",` + more + `}}`
}

// TestWholePayload: the text comes first, and every other member after it in the same fence.
func TestWholePayload(t *testing.T) {
	for _, tt := range []struct{ message, want string }{
		{`"intent":"message","payload":{"text":"hi"}`, "hi"},
		{`"intent":"task-request","payload":{"taskType":"review","description":"look at it","parameters":{"pr":7}}`, "look at it\n{\"taskType\":\"review\",\"parameters\":{\"pr\":7}}"},
		{`"intent":"status-update","payload":{"status":"done","message":"all of it"}`, "all of it\n{\"status\":\"done\"}"},
		{`"intent":"agent-comms","payload":{"topic":"plan","priority":"low","message":"m","attachments":[{"name":"a.txt"}]}`, "m\n{\"attachments\":[{\"name\":\"a.txt\"}]}"},
		{`"intent":"weather","payload":{"city":"Bern","days":[1,2]}`, `{"city":"Bern","days":[1,2]}`},
		{`"intent":"weather","payload":[1,2]`, `[1,2]`},
		{`"intent":"message","payload":"just text"`, "just text"},
	} {
		got := of(t, message(tt.message), 1000)
		if want := "\n<<<PEER MESSAGE 01J>>>\n" + tt.want + "\n<<<END PEER MESSAGE 01J>>>\n"; !strings.Contains(got, want) {
			t.Errorf("%s is said as\n%s\nwant in it %s", tt.message, got, want)
		}
	}
}

// TestWhoseWords: every notice with words of a peer's says whose they are, once.
func TestWhoseWords(t *testing.T) {
	for name, input := range map[string]string{
		"message":  message(`"intent":"message","payload":{"text":"hi"}`),
		"reply":    event("reply", `,"data":{"success":true,"data":{"text":"yes"}}`),
		"request":  event("federation.request", ""),
		"approved": event("federation.approved", ""),
		"rejected": event("federation.rejected", ""),
		"removed":  event("federation.removed", ""),
		"failed":   event("delivery.failed", `,"data":{"error":"the peer answered 403: go away"}`),
	} {
		got := of(t, input, 1000)
		if strings.Count(got, Notice) != 1 || strings.Index(got, Notice) > strings.Index(got, "<<<") {
			t.Errorf("%s: want the line that says whose words they are, once and before them:\n%s", name, got)
		}
	}
	for _, typ := range []string{"message.held", "federation.digest", "warning"} {
		if got := of(t, event(typ, `,"data":{"text":"PEER WORDS"}`), 1000); strings.Contains(got, "<<<") || strings.Contains(got, "PEER WORDS") {
			t.Errorf("%s has words of a peer's:\n%s", typ, got)
		}
	}
}

// TestTimesAndCommands: a message says when it was sent and when it came, which
// conversation it belongs to, and, when it was cut, how to read all of it.
func TestTimesAndCommands(t *testing.T) {
	input := message(`"intent":"message","timestamp":"2026-11-21T20:40:00Z","conversationId":"c-1\u202e","payload":{"text":"` + strings.Repeat("x", 50) + `"}`)
	got := of(t, input, 20)
	for _, want := range []string{"Sent 2026-11-21T20:40:00.000Z, received 2026-11-21T20:47:35.000Z.", "Conversation c-1.", "… cut here, 30 bytes more", "ogp inbox show 01J", "ogp inbox reply 01J"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	if got := of(t, input, 1000); strings.Contains(got, "inbox show") {
		t.Errorf("nothing is cut, and yet:\n%s", got)
	}
}

// TestReplyWithItsQuestion: an answer comes with what we had asked.
func TestReplyWithItsQuestion(t *testing.T) {
	got := of(t, event("reply", `,"data":{"timestamp":"2026-11-21T20:11:09.500Z","outboxId":"01Q","success":true,"data":{"text":"at noon"},"question":{"intent":"agent-comms","topic":"plan","conversationId":"c-9","text":"when do we meet?"}}`), 1000)
	for _, want := range []string{"bob (approved peer, fingerprint K5QX) answered a message of ours. Sent 2026-11-21T20:11:09.500Z, received ", "Topic plan.", "Conversation c-9.", "We had written: when do we meet?", "\nat noon\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}

// TestReturningPeer: who was here before is not called unknown.
func TestReturningPeer(t *testing.T) {
	if got := of(t, event("federation.request", ""), 1000); !strings.Contains(got, "A gateway that we do not know asks") {
		t.Errorf("a stranger is told as\n%s", got)
	}
	for _, was := range []string{"removed", "rejected", "requested"} {
		got := of(t, event("federation.request", `,"data":{"was":"`+was+`"}`), 1000)
		if strings.Contains(got, "do not know") || !strings.Contains(got, "bob (fingerprint K5QX)") || !strings.Contains(got, "asks to federate again") || strings.Contains(got, "approve ") {
			t.Errorf("a peer that was %s is told as\n%s", was, got)
		}
	}
}

func TestHeld(t *testing.T) {
	got := of(t, event("message.held", `,"data":{"inboxId":"01H","policy":"hours","reason":"outside of hours"}`), 1000)
	for _, want := range []string{"policy hours held it", "Its reason: outside of hours", "ogp inbox list --held", "ogp inbox release 01H", "ogp inbox deny 01H"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}

// Commands name our gateway as it says that they do.
func TestCommandsNameTheGateway(t *testing.T) {
	const command = `,"command":"ogp --home /srv/gw"}`
	with := func(e string) string { return strings.TrimSuffix(e, "}") + command }
	held := event("message.held", `,"data":{"inboxId":"01H"}`)
	for _, c := range []struct{ input, want string }{
		{held, "ogp --home /srv/gw inbox list --held"},
		{held, "ogp --home /srv/gw inbox deny 01H"},
		{event("federation.request", ""), "ogp --home /srv/gw federation list --status pending"},
		{event("agent.proposed", ""), "ogp --home /srv/gw federation list --status pending"},
		{message(`"intent":"message","payload":{"text":"yes"}`), "ogp --home /srv/gw inbox reply 01J"},
		{`{"events":[` + held + "," + held + "]}", "What is held: ogp --home /srv/gw inbox list --held"},
	} {
		if got := Several(read(t, with(c.input)), 1000); !strings.Contains(got, c.want) || strings.Contains(got, "ogp inbox") || strings.Contains(got, "ogp federation") {
			t.Errorf("want %q, and no command without --home, in\n%s", c.want, got)
		}
	}
}

// TestSeveral: in a batch the fixed words stand once.
func TestSeveral(t *testing.T) {
	one := message(`"intent":"agent-comms","level":"summary","payload":{"message":"one"}`)
	input := `{"events":[` + one + `,` + strings.Replace(one, "one", "two", 1) + `,` + event("federation.request", "") + `,` + event("federation.request", "") + `,` +
		event("federation.digest", `,"data":{"requests":3}`) + `,` + event("message.held", "") + `,` + event("message.held", "") + `]}`
	got := Several(read(t, input), 1000)
	for _, fixed := range []string{Notice, aboutStrangers, whoWaits, whatIsHeld, levels[1].advice} {
		if strings.Count(got, fixed) != 1 {
			t.Errorf("%d times, want once: %q in\n%s", strings.Count(got, fixed), fixed, got)
		}
	}
	if strings.Count(got, "[SUMMARY]") != 3 || !strings.Contains(got, "--- 7 of 7 ---") || strings.Index(got, "one") > strings.Index(got, "two") {
		t.Errorf("Several =\n%s", got)
	}
	if single := Several(read(t, one), 1000); single != of(t, one, 1000) {
		t.Errorf("one event alone is said as\n%s", single)
	}
}

// A held message that was denied is no failure of what it asked.
func TestDeniedReply(t *testing.T) {
	got := of(t, event("reply", `,"data":{"success":false,"error":"not today","data":{"status":"rejected","reason":"not today"}}`), 1000)
	if !strings.Contains(got, " turned down a message of ours") || !strings.Contains(got, "not today") {
		t.Errorf("of a denial: %s", got)
	}
}
