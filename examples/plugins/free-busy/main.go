// Command free-busy answers the intent calendar.freebusy from the plugin's own store, where
// the key day/2026-11-23 holds the busy times of that day: "09:00-10:30 13:00-14:00".
package main

import (
	"strings"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/handle"
)

func init() { handle.Is(answer) }

func main() { sdk.Main() }

// maxDays is how many days one question may ask for.
const maxDays = 14

// answer takes {"days":["2026-11-23",...]} and gives {"days":[{"day":...,"known":true,"busy":[...]}]}.
func answer(in *sdk.Incoming) sdk.Answer {
	if in.Message.Intent != "calendar.freebusy" {
		return sdk.NotMine()
	}
	days := in.Message.Payload.Get("days").Texts()
	if len(days) == 0 || len(days) > maxDays {
		return sdk.ReplyError("days must be a list of 1 to 14 dates")
	}
	var out []*sdk.Object
	for _, day := range days {
		if _, ok := sdk.ParseTime(day + "T00:00:00Z"); !ok {
			return sdk.ReplyError("a day must be written like 2026-11-23")
		}
		busy, known, err := sdk.KVGet("day/" + day)
		if err != nil {
			sdk.Warn("free-busy: " + err.Error())
			return sdk.ReplyError("the calendar is not available")
		}
		out = append(out, new(sdk.Object).Text("day", day).Bool("known", known).Texts("busy", strings.Fields(busy)))
	}
	return sdk.Reply(new(sdk.Object).Objects("days", out))
}
