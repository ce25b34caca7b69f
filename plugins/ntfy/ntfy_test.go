package main

import (
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/sdktest"
)

func post(t *testing.T, config, input string) sdktest.Request {
	t.Helper()
	do, requests := sdktest.Answer(200, `{"id":"sPs71M8A2T","time":1,"event":"message","topic":"t"}`)
	defer sdk.Use(&sdktest.Host{Secrets: map[string]string{"ntfy_token": "tk"}, HTTP: do})()
	if err := sdk.Start(config); err != nil {
		t.Fatal(err)
	}
	if out, code := sdk.Run(sdk.HookNotify, input); code != 0 || out != `{"status":"delivered"}` || len(requests()) != 1 {
		t.Fatalf("notify = %d %s with %d requests", code, out, len(requests()))
	}
	return requests()[0]
}

func TestPublishesByType(t *testing.T) {
	for input, want := range map[string]string{
		`{"event":{"id":"1","type":"federation.request"},"peer":{"fingerprint":"F","names":{"displayName":"EVIL"}}}`:                                     `"priority":4,"tags":["raised_hand"]`,
		`{"event":{"id":"1","type":"federation.removed"},"peer":{"alias":"bob"}}`:                                                                        `"priority":4,"tags":["broken_heart"]`,
		`{"event":{"id":"1","type":"message"},"peer":{"alias":"bob"},"message":{"intent":"agent-comms","priority":"high","payload":{"message":"EVIL"}}}`: `"priority":4,"tags":["speech_balloon"]`,
		`{"event":{"id":"1","type":"message"},"peer":{"alias":"bob"},"message":{"intent":"message","priority":"low","payload":{"text":"EVIL"}}}`:         `"priority":2,"tags":["speech_balloon"]`,
		`{"event":{"id":"1","type":"delivery.failed"},"peer":{"alias":"bob"},"text":"gave up"}`:                                                          `"priority":4,"tags":["warning"]`,
		`{"event":{"id":"1","type":"moon"},"text":"full"}`:                                                                                               `"priority":3,"tags":["satellite"]`,
	} {
		got := post(t, `{"topic":"my-topic"}`, input)
		if got.URL != "https://ntfy.sh/" || got.Header.Get("Authorization") != "Bearer tk" {
			t.Errorf("posted to %s with %v", got.URL, got.Header)
		}
		if !strings.Contains(got.Body, want) || !strings.Contains(got.Body, `"topic":"my-topic"`) {
			t.Errorf("body = %s, want %s", got.Body, want)
		}
		if strings.Contains(got.Body, "EVIL") {
			t.Errorf("a peer's words went to a public server: %s", got.Body)
		}
	}
}

func TestTextAndLinksOnRequest(t *testing.T) {
	got := post(t, `{"url":"https://ntfy.example/","topic":"t","include_text":true,"click":"https://me.example/","action_label":"Inbox","action_url":"https://me.example/inbox"}`,
		`{"event":{"id":"1","type":"message"},"peer":{"alias":"bob"},"message":{"intent":"message","payload":{"text":"`+strings.Repeat("x", 9000)+`"}}}`)
	if got.URL != "https://ntfy.example/" || !strings.Contains(got.Body, `"click":"https://me.example/","actions":[{"action":"view","label":"Inbox","url":"https://me.example/inbox"}]`) {
		t.Errorf("body = %s", got.Body)
	}
	v, err := sdk.Parse(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	if text := v.Get("message").Text(); !strings.Contains(text, "xxx") || len(text) > 4096 {
		t.Errorf("%d bytes of message, want at most 4096", len(text))
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: "topic must be set", `{"topic":"a b"}`: "topic must be set", `{"topic":"a/b"}`: "topic must be set",
		`{"topic":"t","url":"ftp://x"}`: "url must begin with", `{"topic":"t","action_url":"https://x"}`: "action_url needs an action_label",
	} {
		if err := sdk.Start(config); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Start(%s) = %v, want %s", config, err, want)
		}
	}
}

// A token that is configured and cannot be read is no reason to publish without it.
func TestNeverWithoutItsToken(t *testing.T) {
	do, requests := sdktest.Answer(200, `{}`)
	defer sdk.Use(&sdktest.Host{Secrets: map[string]string{"ntfy_token": ""}, HTTP: do})()
	if err := sdk.Start(`{"topic":"t"}`); err != nil {
		t.Fatal(err)
	}
	out, _ := sdk.Run(sdk.HookNotify, `{"event":{"id":"01J","type":"message"}}`)
	if !strings.HasPrefix(out, `{"status":"setup"`) || len(requests()) != 0 {
		t.Errorf("notify = %s with %d requests, want setup with none", out, len(requests()))
	}
}

// Only ntfy's own answer says that it has a notice.
func TestOthersAnswers(t *testing.T) {
	for body, want := range map[string]string{
		``:                            `answered 200 without a body - a proxy`,
		`ok`:                          `answered 200: ok - a proxy`,
		`{}`:                          `answered 200: {} - a proxy`,
		`{"id":"x","event":"open"}`:   `answered 200: {\"id\":\"x\",\"event\":\"open\"} - a proxy`,
		`<html><title>Log in</title>`: `answered 200 with a web page \"Log in\" - a proxy`,
	} {
		do, _ := sdktest.Answer(200, body)
		restore := sdk.Use(&sdktest.Host{HTTP: do})
		if err := sdk.Start(`{"topic":"t"}`); err != nil {
			t.Fatal(err)
		}
		if out, _ := sdk.Run(sdk.HookNotify, `{"event":{"id":"01J","type":"message"}}`); !strings.HasPrefix(out, `{"status":"retry","detail":"`+want) {
			t.Errorf("%s: %s, want retry with %s", body, out, want)
		}
		restore()
	}
}
