// Command services calls every service of the host, for the test that the SDK and the host
// agree on each.
package main

import (
	"strconv"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/handle"
)

func init() {
	sdk.OnInit(func(c sdk.Value) error {
		if c.Get("refuse").Bool() {
			return &sdk.CallError{Op: "init", Code: sdk.CallFailed, Text: "told to refuse"}
		}
		return nil
	})
	handle.Is(func(c *sdk.Incoming) sdk.Answer {
		if c.Message.Intent == "panic" {
			panic("boom " + c.Message.ID)
		}
		out := new(sdk.Object)
		note := func(name, value string, err error) {
			if err != nil {
				value = "error: " + err.Error()
			}
			out.Text(name, value)
		}
		note("set", "", sdk.KVSet("day/2", "two \"é\"\n"))
		note("set1", "", sdk.KVSet("day/1", "one"))
		value, ok, err := sdk.KVGet("day/2")
		note("get", value+" "+strconv.FormatBool(ok), err)
		keys, err := sdk.KVList("day/")
		note("list", strconv.Itoa(len(keys)), err)
		out.Texts("keys", keys)
		note("delete", "", sdk.KVDelete("day/1"))
		_, ok, err = sdk.KVGet("day/1")
		note("gone", strconv.FormatBool(!ok), err)
		has, err := sdk.HasSecret("t")
		note("has", strconv.FormatBool(has), err)
		has, err = sdk.HasSecret("other")
		note("hasOther", strconv.FormatBool(has), err)
		now, err := sdk.Now()
		note("now", now.String(), err)
		b, err := sdk.Rand(8)
		note("rand", strconv.Itoa(len(b)), err)
		_, err = sdk.CallHost("future.op", "{}")
		note("future", "", err)
		r, err := sdk.HTTP(sdk.HTTPRequest{
			Method: "PUT", URL: sdk.Config().Get("url").Text() + "/x?y=z", Headers: []string{"Authorization", "Bearer {secret:t}"}, Body: "the body é",
			TimeoutMs: 5000, HMAC: sdk.HMAC{Secret: "t", Header: "X-Hub-Signature-256", Prefix: "sha256="},
		})
		if err != nil {
			note("http", "", err)
		} else {
			note("http", strconv.FormatInt(r.Status, 10)+" "+r.Header("x-answer")+" "+r.Body, nil)
		}
		_, err = sdk.HTTP(sdk.HTTPRequest{URL: "http://127.0.0.1:9/else"})
		note("elsewhere", "", err)
		intent, _ := sdk.Attribute("message.intent")
		out.Text("attribute", intent)
		sdk.Warn("a line from the guest")
		return sdk.Reply(out)
	})
}

func main() { sdk.Main() }
