// Command ntfy is a notifier for a person's phone: it publishes each event to a topic of
// ntfy.sh or a server of one's own. It says what happened in our own words; what a peer
// wrote goes along only with include_text, since a public server sees it.
package main

import (
	"errors"
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
	url, topic             string
	click                  string
	actionLabel, actionURL string
	includeText            bool
}

func configure(c sdk.Value) error {
	conf.url = strings.TrimSuffix(c.Get("url").Text(), "/")
	if conf.url == "" {
		conf.url = "https://ntfy.sh"
	}
	conf.topic = c.Get("topic").Text()
	conf.click = c.Get("click").Text()
	conf.actionLabel, conf.actionURL = c.Get("action_label").Text(), c.Get("action_url").Text()
	conf.includeText = c.Get("include_text").Bool()
	switch {
	case !strings.HasPrefix(conf.url, "http://") && !strings.HasPrefix(conf.url, "https://"):
		return errors.New("url must begin with http:// or https://")
	case conf.topic == "" || wording.Word(conf.topic) != conf.topic || strings.Contains(conf.topic, "/"):
		return errors.New("topic must be set: letters, digits, - and _")
	case conf.actionURL != "" && conf.actionLabel == "":
		return errors.New("action_url needs an action_label")
	}
	return nil
}

func tell(e *sdk.Event) sdk.Outcome {
	title, priority, tag := look(e)
	o := new(sdk.Object).Text("topic", conf.topic).Text("title", title).Text("message", text(e)).
		Int("priority", priority).Texts("tags", []string{tag}).TextIf("click", conf.click)
	if conf.actionURL != "" {
		o.Objects("actions", []*sdk.Object{new(sdk.Object).Text("action", "view").Text("label", conf.actionLabel).Text("url", conf.actionURL)})
	}
	r := sdk.HTTPRequest{Method: "POST", URL: conf.url + "/", Headers: []string{"Content-Type", "application/json"}, Body: o.JSON(), TimeoutMs: 10_000}
	switch granted, err := sdk.HasSecret("ntfy_token"); {
	case err != nil:
		return sdk.SetUp("cannot say whether there is an ntfy_token, so that nothing is published without it: " + err.Error())
	case granted:
		r.Headers = append(r.Headers, "Authorization", "Bearer {secret:ntfy_token}")
	}
	answer, err := sdk.HTTP(r)
	outcome := sdk.OutcomeOf(answer, err)
	if outcome.Status == sdk.StatusDelivered && !published(answer) {
		return sdk.Retry(answer.RetryAfter(), sdk.NotTheReceiver(answer))
	}
	return outcome
}

// published says that ntfy has answered: with the message as it keeps it. Nothing else says
// so, whatever its status.
func published(r *sdk.HTTPResponse) bool {
	v, err := sdk.Parse(r.Body)
	return err == nil && v.Get("id").Text() != "" && v.Get("event").Text() == "message"
}

// text is what the notification says. ntfy turns more than 4096 bytes into a file.
func text(e *sdk.Event) string {
	if conf.includeText && e.Type == sdk.EventMessage {
		return wording.Of(e, 2000)
	}
	return wording.Headline(e)
}

// look is an event's title, priority (1 to 5, 3 is normal) and tag (an emoji's short code).
func look(e *sdk.Event) (title string, priority int64, tag string) {
	switch e.Type {
	case sdk.EventMessage:
		priority = 3
		switch e.Message.Priority {
		case "high":
			priority = 4
		case "low":
			priority = 2
		}
		return "Federated message", priority, "speech_balloon"
	case sdk.EventReply:
		return "Federated reply", 3, "leftwards_arrow_with_hook"
	case sdk.EventRequest, sdk.EventDigest:
		return "Federation request", 4, "raised_hand"
	case sdk.EventApproved:
		return "Federation approved", 3, "white_check_mark"
	case sdk.EventRejected:
		return "Federation rejected", 3, "x"
	case sdk.EventRemoved:
		return "Federation removed", 4, "broken_heart"
	case sdk.EventFailed:
		return "Delivery failed", 4, "warning"
	case sdk.EventWarning:
		return "Gateway warning", 4, "warning"
	}
	return "Federation", 3, "satellite"
}
