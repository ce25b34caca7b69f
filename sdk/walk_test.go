package sdk

import (
	"encoding/json"
	"strings"
	"testing"
)

// A string is read eight bytes at a time: what ends it or is escaped in it may stand at any of them.
func TestStringsEndAtEveryByte(t *testing.T) {
	for length := range 40 {
		for at := range length + 1 {
			for _, odd := range []string{"", `"`, `\`, `\\`, `\"`, `"\\`, "\n", "é", "\u2028", `\u0041`, "\x7f"} {
				text := strings.Repeat("a", at) + odd + strings.Repeat("b", length-at)
				quoted, err := json.Marshal(text)
				if err != nil {
					t.Fatal(err)
				}
				whole := `{"before":` + string(quoted) + ` , ` + string(quoted) + ` : [ ` + string(quoted) + ` , {"in" :` + string(quoted) + `}],"after":1}`
				v := mustParse(t, whole)
				list := v.Get(text)
				if text == "before" || text == "after" {
					continue
				}
				inner := Value{}
				list.Each(func(_ string, e Value) bool { inner = e; return true })
				if v.Get("before").Text() != text || list.Len() != 2 || list.Texts()[0] != text || inner.Get("in").Text() != text || v.Get("after").Int() != 1 || v.Len() != 3 {
					t.Fatalf("%q is read as %q, %q, after %d of %d members", text, v.Get("before").Text(), list.Texts(), v.Get("after").Int(), v.Len())
				}
			}
		}
	}
}

// What a hook gets is read in one walk, and is what looking for each member finds.
func TestIncomingIsWhatGetFinds(t *testing.T) {
	for name, text := range map[string]string{
		"as the host writes it": messageInput,
		"spaces and escapes": ` { "now" : "2026-11-21T20:47:35.730Z" , "message" : { "\u0069d" : "n\"1" , "payload" : { "message" : "}]\"" , "id" : "no" , "textBytes" : 9 } ,
			"textBytes" : 12 , "intent" : "agent\u002dcomms" , "unknown" : [ { "intent" : "no" } ] } , "peer" : { "names" : { "email" : "a\\b" , "x" : {} } , "state" : "approved" , "alias" : "b" } } `,
		"no peer":            `{"message":{"intent":"message","payload":null},"now":""}`,
		"nulls":              `{"peer":null,"message":null,"now":null}`,
		"other types":        `{"peer":[{"alias":"x"}],"message":"text","now":5}`,
		"other types within": `{"peer":{"alias":{"alias":"x"},"names":["n"],"id":7},"message":{"id":[1],"textBytes":"9","signedBytes":{},"payload":"p"}}`,
		"empty":              `{}`,
		"empty within":       `{"peer":{},"message":{}}`,
	} {
		v := mustParse(t, text)
		in := incomingOf(v)
		p, m := v.Get("peer"), v.Get("message")
		names := p.Get("names")
		for what, pair := range map[string][2]string{
			"peer": {in.Peer.JSON.JSON(), p.JSON()}, "message": {in.Message.JSON.JSON(), m.JSON()}, "payload": {in.Message.Payload.JSON(), m.Get("payload").JSON()},
			"alias": {in.Peer.Alias, p.Get("alias").Text()}, "fingerprint": {in.Peer.Fingerprint, p.Get("fingerprint").Text()}, "peer.id": {in.Peer.ID, p.Get("id").Text()},
			"state": {in.Peer.State, p.Get("state").Text()}, "url": {in.Peer.GatewayURL, p.Get("gatewayUrl").Text()},
			"names": {in.Peer.Names.Display + in.Peer.Names.Email, names.Get("displayName").Text() + names.Get("email").Text()},
			"id":    {in.Message.ID, m.Get("id").Text()}, "intent": {in.Message.Intent, m.Get("intent").Text()}, "topic": {in.Message.Topic, m.Get("topic").Text()},
			"priority": {in.Message.Priority, m.Get("priority").Text()}, "conversation": {in.Message.ConversationID, m.Get("conversationId").Text()},
			"toAgent": {in.Message.ToAgent, m.Get("toAgent").Text()}, "level": {in.Message.Level, m.Get("level").Text()},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %s = %q, and Get finds %q", name, what, pair[0], pair[1])
			}
		}
		if in.Now != timeOf(v.Get("now")) || in.Message.TextBytes != m.Get("textBytes").Int() || in.Message.SignedBytes != m.Get("signedBytes").Int() {
			t.Errorf("%s: now %v, %d and %d bytes", name, in.Now, in.Message.TextBytes, in.Message.SignedBytes)
		}
	}
}

// The host writes JSON; what is none must not end a module by a crash.
func TestNoJSONIsWalkedOverToo(t *testing.T) {
	for i := range messageInput {
		for _, text := range []string{messageInput[:i], messageInput[i:], messageInput[:i] + `"` + messageInput[i:], messageInput[:i] + "}" + messageInput[i:]} {
			in := incomingOf(given(text))
			requestOf(given(text))
			in.Message.Payload.Each(func(string, Value) bool { return true })
		}
	}
}
