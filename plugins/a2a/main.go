// Command a2a is a notifier that answers: it hands peers' messages to any agent that speaks
// A2A 1.0 over JSON-RPC, asks what became of them, and brings the agent's answer back.
//
// What a peer wrote reaches the agent only cleaned, bounded and between marks, behind a
// line of ours that says who it is from.
package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/notify"
	"github.com/opengatewayprotocol/ogp/sdk/wording"
)

func init() {
	sdk.OnInit(configure)
	notify.Is(tell)
}

func main() { sdk.Main() }

var conf struct {
	url            string
	peers, intents []string // empty: all
	timeout        int64    // seconds that the agent has for an answer
	maxTextBytes   int
}

func configure(c sdk.Value) error {
	conf.url = c.Get("url").Text()
	conf.peers, conf.intents = c.Get("peers").Texts(), c.Get("intents").Texts()
	conf.maxTextBytes = 16 << 10
	if n := c.Get("max_text_bytes").Int(); n > 0 {
		conf.maxTextBytes = int(min(n, 48<<10))
	}
	conf.timeout = 30 * 60
	if t := c.Get("timeout"); t.Exists() {
		var ok bool
		if conf.timeout, ok = seconds(t.Text()); !ok {
			return errors.New(`timeout must be a time such as "30m", "90s" or "2h"`)
		}
	}
	if !strings.HasPrefix(conf.url, "http://") && !strings.HasPrefix(conf.url, "https://") {
		return errors.New("url must begin with http:// or https://")
	}
	return nil
}

// seconds reads a number with one unit: s, m or h.
func seconds(text string) (int64, bool) {
	for unit, n := range map[string]int64{"s": 1, "m": 60, "h": 3600} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			v, ok := sdk.ParseInt(number)
			return v * n, ok && v > 0 && v < 1_000_000
		}
	}
	return 0, false
}

func tell(e *sdk.Event) sdk.Outcome {
	if e.Type == "doctor.test" {
		return try(e)
	}
	if e.Type != sdk.EventMessage || !e.Fits(conf.intents, conf.peers) {
		return sdk.Delivered()
	}
	now, err := sdk.Now()
	if err != nil {
		return sdk.SetUp(err.Error())
	}
	was, err := recall(e.ID)
	if err != nil {
		return notKept(err)
	}
	switch {
	case was.reply.Exists():
		return answer(was.reply, was.tokens)
	case was.task == "":
		return begin(e, int64(now))
	}
	return look(e, was, int64(now))
}

// begin hands the message to the agent.
func begin(e *sdk.Event, now int64) sdk.Outcome {
	message := new(sdk.Object).Text("messageId", e.ID).Text("contextId", contextOf(e)).Text("role", "ROLE_USER").
		Objects("parts", []*sdk.Object{new(sdk.Object).Text("text", wording.Question(e, conf.maxTextBytes))})
	result, failed := call("SendMessage", e.ID, new(sdk.Object).Object("message", message).
		Object("configuration", new(sdk.Object).Texts("acceptedOutputModes", []string{"text/plain", "application/json"}).Bool("returnImmediately", true)))
	if failed != nil {
		return failed.outcome()
	}
	sweep(e.ID)
	if said := result.Get("message"); said.Kind() == sdk.Map { // an answer without a task
		return finish(e, replyOf(list(said.Get("parts")), nil), tokensOf(said))
	}
	task := result.Get("task")
	if id := task.Get("id").Text(); id != "" {
		was := kept{task: id, since: now}
		if o, over := ended(e, task); over {
			return o
		}
		if err := was.keep(e.ID); err != nil {
			return notKept(err)
		}
		return sdk.Working(pace(0), "the agent is at work: task "+sdk.Line(id, 64))
	}
	return sdk.SetUp("the answer holds neither a task nor a message - does the url lead to an A2A 1.0 agent?")
}

// look asks what became of a task.
func look(e *sdk.Event, was kept, now int64) sdk.Outcome {
	took := (now - was.since) / 1000
	result, failed := call("GetTask", e.ID, new(sdk.Object).Text("id", was.task))
	switch {
	case failed == nil:
	case failed.code == taskNotFound: // the agent's server has forgotten it: the message has no answer yet
		if took < conf.timeout {
			forget(e.ID)
			return begin(e, now)
		}
	case failed.code == busy:
	default:
		return failed.outcome()
	}
	if failed == nil {
		if task := result.Get("task"); task.Kind() == sdk.Map {
			result = task
		}
		if o, over := ended(e, result); over {
			return o
		}
	}
	if took >= conf.timeout {
		return finish(e, no("The agent has not answered in time."), 0)
	}
	return sdk.Working(pace(took), "the agent is at work: task "+sdk.Line(was.task, 64))
}

// pace is when to ask again about a task, in seconds: seldom enough for servers that count
// requests, as OpenClaw's does with 30 a minute.
func pace(took int64) int64 { return max(2, min(took/4, 30)) }

// ended is the outcome of a task that has come to its end.
func ended(e *sdk.Event, task sdk.Value) (o sdk.Outcome, over bool) {
	status := task.Get("status")
	because := ""
	if words := sdk.Line(textOf(status.Get("message").Get("parts")), 1000); words != "" {
		because = ": " + words
	}
	var reply *sdk.Object
	switch state(status.Get("state").Text()) {
	case "completed":
		reply = replyOf(artifacts(task), list(status.Get("message").Get("parts")))
	case "failed":
		reply = no("The agent could not do it" + because)
	case "rejected":
		reply = no("The agent declined" + because)
	case "canceled":
		reply = no("The agent's work on it was cancelled" + because)
	case "input_required":
		reply = no("The agent needs to know more" + because + " (send it in the same conversation)")
	case "auth_required":
		reply = no("The agent must first be allowed something by its human" + because)
	default: // submitted, working, or newer than this plugin
		return o, false
	}
	return finish(e, reply, max(tokensOf(task), tokensOf(status.Get("message")))), true
}

// state is a task's state in small letters: A2A 1.0 has TASK_STATE_COMPLETED for it, and
// before it was completed.
func state(s string) string {
	s, _ = strings.CutPrefix(s, "TASK_STATE_")
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		} else if c == '-' {
			b[i] = '_'
		}
	}
	return string(b)
}

// finish keeps the reply before it gives it, so that the same comes again until the gateway
// has sent it.
func finish(e *sdk.Event, reply *sdk.Object, tokens int64) sdk.Outcome {
	was := kept{tokens: tokens}
	was.reply, _ = sdk.Parse(reply.JSON()) // our own
	if err := was.keep(e.ID); err != nil {
		return notKept(err)
	}
	return answer(was.reply, tokens)
}

func answer(reply sdk.Value, tokens int64) sdk.Outcome {
	var o sdk.Outcome
	switch {
	case reply.Get("error").Exists():
		o = sdk.AnsweredNo(reply.Get("error").Text())
	case reply.Get("text").Exists():
		o = sdk.Answered(reply.Get("text").Text())
	default:
		o = sdk.AnsweredWith(object(reply.Get("data")))
	}
	o.Tokens = tokens
	return o
}

// object is data as an object: of what is none, the member "data" of one.
func object(v sdk.Value) *sdk.Object {
	o := new(sdk.Object)
	if v.Kind() != sdk.Map {
		return o.Value("data", v)
	}
	v.Each(func(name string, e sdk.Value) bool {
		o.Value(name, e)
		return true
	})
	return o
}

// contextOf names the agent's memory: of one peer and conversation.
func contextOf(e *sdk.Event) string {
	name := wording.Word(e.Peer.Fingerprint)
	if talk := wording.Word(e.Message.ConversationID); talk != "" {
		name += ":" + talk
	}
	return "ogp:" + strings.ReplaceAll(name, "/", "_")
}

// try asks for a task that does not exist: it wakes nobody, and shows that the URL and the
// token are right.
func try(e *sdk.Event) sdk.Outcome {
	_, failed := call("GetTask", e.ID, new(sdk.Object).Text("id", "ogp-test-"+e.ID))
	if failed == nil || failed.code == taskNotFound || failed.code == busy {
		return sdk.Delivered()
	}
	return failed.outcome()
}

func notKept(err error) sdk.Outcome {
	if ce, ok := err.(*sdk.CallError); ok && ce.Code == sdk.CallNotGranted {
		return sdk.SetUp(err.Error() + ` - grant it its store: kv = ["get", "set", "delete", "list"] in [plugins.a2a.grants]`)
	}
	return sdk.Retry(0, err.Error())
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
