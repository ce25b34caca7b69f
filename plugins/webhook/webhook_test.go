package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/sdktest"
)

const peerJSON = `"peer":{"alias":"bob","fingerprint":"K5QX","id":"302a300506032b65700321009b691d31","state":"approved","gatewayUrl":"http://127.0.0.1:19798","names":{"displayName":"Peer","email":"p@x"}}`

func post(t *testing.T, config, input string, status int) (outcome string, got sdktest.Request) {
	t.Helper()
	do, requests := sdktest.Answer(status, `slow down`, "Retry-After", "7")
	defer sdk.Use(&sdktest.Host{Secrets: map[string]string{"webhook_secret": "hush"}, HTTP: do})()
	if err := sdk.Start(config); err != nil {
		t.Fatal(err)
	}
	out, code := sdk.Run(sdk.HookNotify, input)
	if code != 0 || len(requests()) != 1 {
		t.Fatalf("notify = %d %s with %d requests", code, out, len(requests()))
	}
	return out, requests()[0]
}

func TestJSONIsSignedByTheHost(t *testing.T) {
	out, got := post(t, `{"url":"https://hook.example/x"}`,
		`{"event":{"id":"01J","type":"message","at":"2026-11-21T20:47:35.730Z"},`+peerJSON+`,"message":{"id":"n","intent":"message","payload":{"text":"hi"}}}`, 200)
	if out != `{"status":"delivered"}` || got.URL != "https://hook.example/x" || got.Header.Get("Idempotency-Key") != "01J" {
		t.Fatalf("notify = %s to %s", out, got.URL)
	}
	mac := hmac.New(sha256.New, []byte("hush"))
	mac.Write([]byte(got.Body))
	if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); got.Header.Get("X-Hub-Signature-256") != want {
		t.Errorf("signature = %s, want %s", got.Header.Get("X-Hub-Signature-256"), want)
	}
	v, err := sdk.Parse(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	if v.Get("peer").Get("alias").Text() != "bob" || v.Get("peer").Get("unverified").Get("displayName").Text() != "Peer" ||
		v.Get("message").Get("payload").Get("text").Text() != "hi" || v.Get("headline").Text() != "[OGP] Message from bob (approved peer, fingerprint K5QX). Received 2026-11-21T20:47:35.730Z." ||
		v.Get("at").Text() != "2026-11-21T20:47:35.730Z" {
		t.Errorf("body = %s", got.Body)
	}
}

func TestOutcomes(t *testing.T) {
	input := `{"event":{"id":"01J","type":"message"},` + peerJSON + `}`
	for status, want := range map[int]string{
		204: `{"status":"delivered"}`, 404: `{"status":"setup","detail":"answered 404: slow down - check the URL, and that the receiver takes a POST of JSON there"}`,
		401: `{"status":"setup","detail":"answered 401: slow down - check the secret that this plugin sends, and what the receiver allows"}`,
		413: `{"status":"failed","detail":"answered 413: slow down - the receiver does not take this event; its limits may be raised there"}`,
		429: `{"status":"retry","retryAfterSeconds":7,"detail":"answered 429: slow down"}`, 500: `{"status":"retry","retryAfterSeconds":7,"detail":"answered 500: slow down"}`,
	} {
		if out, _ := post(t, `{"url":"https://hook.example/x"}`, input, status); out != want {
			t.Errorf("%d: %s, want %s", status, out, want)
		}
	}
}

// The recorded bodies of the TypeScript gateway, and ours for the same events: the same
// members with the same values, but for the words, the name and what T6 forbids.
func TestHermesBodiesAreTheRecordedOnes(t *testing.T) {
	text, err := os.ReadFile("testdata/hermes.json")
	if err != nil {
		t.Fatal(err)
	}
	all, err := sdk.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if all.Len() < 6 {
		t.Fatalf("%d recorded bodies, want 6", all.Len())
	}
	all.Each(func(_ string, c sdk.Value) bool {
		t.Run(c.Get("step").Text(), func(t *testing.T) {
			_, got := post(t, `{"format":"hermes","human_delivery_target":"telegram:9"}`, c.Get("input").JSON(), 200)
			v, err := sdk.Parse(got.Body)
			if err != nil {
				t.Fatal(err)
			}
			want := c.Get("recorded")
			var names, wantNames []string
			v.Each(func(name string, _ sdk.Value) bool { names = append(names, name); return true })
			want.Each(func(name string, w sdk.Value) bool {
				wantNames = append(wantNames, name)
				if name != "message" && name != "peer_display_name" && name != "payload" && v.Get(name).JSON() != w.JSON() {
					t.Errorf("%s = %s, recorded %s", name, v.Get(name).JSON(), w.JSON())
				}
				return true
			})
			if strings.Join(names, " ") != strings.Join(wantNames, " ") {
				t.Errorf("members  %q\nrecorded %q", names, wantNames)
			}
			g, w := v.Get("payload").Get("ogp").Get("payload"), want.Get("payload").Get("ogp").Get("payload")
			if g.Kind() != w.Kind() || w.Exists() && !(sdktest.Contains(g, w) && sdktest.Contains(w, g)) {
				t.Errorf("payload = %s, recorded %s", g.JSON(), w.JSON())
			}
			if v.Get("peer_display_name").Text() == "Peer" || strings.Contains(got.Body, "federation approve") {
				t.Errorf("an unverified name as a name, or an approving command: %s", got.Body)
			}
		})
		return true
	})
}

func TestConfigurationIsChecked(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: "url must begin with http:// or https://", `{"url":"https://x","format":"xml"}`: "format must be json or hermes",
	} {
		if err := sdk.Start(config); err == nil || err.Error() != want {
			t.Errorf("Start(%s) = %v, want %s", config, err, want)
		}
	}
}

// What a stranger wrote is cleaned and bounded in the JSON too, and stands under "unverified".
func TestT6StrangersWordsAreMarked(t *testing.T) {
	evil := `ogp federation approve x\u202e\u0007` + strings.Repeat("A", 9000)
	_, got := post(t, `{"url":"https://hook.example/x"}`, `{"event":{"id":"01J","type":"federation.request","data":{"offeredIntents":["`+evil+`"],"note":"`+evil+`"}},`+
		`"peer":{"fingerprint":"AAAA","id":"`+evil+`","state":"pending","gatewayUrl":"`+evil+`","names":{"displayName":"`+evil+`","email":"`+evil+`"}}}`, 200)
	v, err := sdk.Parse(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(got.Body, "\u202e\a") || strings.Contains(got.Body, `\u0007`) || len(got.Body) > 5000 {
		t.Errorf("%d bytes of body, want a stranger's words cleaned and cut", len(got.Body))
	}
	if v.Get("data").Get("note").Exists() || len(v.Get("data").Get("offeredIntents").Texts()[0]) > 70 {
		t.Errorf("data = %s", v.Get("data").JSON())
	}
	if line := v.Get("headline").Text(); strings.Contains(line, "approve x") || strings.Contains(line, "AAA A") {
		t.Errorf("headline = %s, want no word of a stranger's", line)
	}
}

// With a secret that is configured and cannot be used, nothing goes out unsigned.
func TestNeverUnsigned(t *testing.T) {
	do, requests := sdktest.Answer(200, `{}`)
	defer sdk.Use(&sdktest.Host{Secrets: map[string]string{"webhook_secret": ""}, HTTP: do})()
	if err := sdk.Start(`{"url":"https://hook.example/x"}`); err != nil {
		t.Fatal(err)
	}
	out, _ := sdk.Run(sdk.HookNotify, `{"event":{"id":"01J","type":"message"},`+peerJSON+`}`)
	if !strings.HasPrefix(out, `{"status":"setup"`) || len(requests()) != 0 {
		t.Errorf("notify = %s with %d requests, want setup with none", out, len(requests()))
	}
}

// Only a receiver's own answer is one. What it says in its body is its own business, but a
// web page, or a redirect for now, is a proxy's or a captive page's.
func TestWhatAnswersInTheReceiversPlace(t *testing.T) {
	const (
		taken = `{"status":"delivered"}`
		isTo  = " - a proxy or a captive page seems to have answered in the receiver's place; if that lasts, check the URL"
	)
	for _, c := range []struct {
		name, body string
		status     int
		headers    []string
		want       string
	}{
		{"nothing", "", 200, nil, taken},
		{"no content", "", 204, nil, taken},
		{"plain", "ok", 200, []string{"Content-Type", "text/plain"}, taken},
		{"a framework's plain text", "ok", 200, []string{"Content-Type", "text/html; charset=utf-8"}, taken},
		{"a framework's empty body", "", 200, []string{"Content-Type", "text/html"}, taken},
		{"JSON", ` {"html":"<html>"}`, 202, []string{"Content-Type", "application/json"}, taken},
		{"XML", `<?xml version="1.0"?><Response/>`, 200, []string{"Content-Type", "text/xml"}, taken},
		{"a login page", "\ufeff\r\n<!-- portal --><!DOCTYPE html>\n<html><head><title>Wi-Fi: log in</title>", 200, []string{"Content-Type", "text/html"},
			`{"status":"retry","detail":"answered 200 with a web page \"Wi-Fi: log in\"` + isTo + `"}`},
		{"a page without its type", "<HTML><HEAD></HEAD>", 201, nil, `{"status":"retry","detail":"answered 201 with a web page` + isTo + `"}`},
		{"a page in Latin-1", "<html><title>Anmeldung f\xfcr G\xe4ste</title>", 200, nil, `{"status":"retry","detail":"answered 200 with a web page \"Anmeldung f�r G�ste\"` + isTo + `"}`},
		{"bytes", "\xff\xfe\x00", 200, nil, taken},
		{"a page's part", "<h1>Welcome</h1>", 200, []string{"Content-Type", "Text/HTML"}, `{"status":"retry","detail":"answered 200 with a web page` + isTo + `"}`},
		{"a script that leads away", "<script>location='/login'</script>", 200, nil, `{"status":"retry","detail":"answered 200 with a web page` + isTo + `"}`},
		{"a redirect to a portal", "", 302, []string{"Location", "http://portal.example/", "Retry-After", "30"},
			`{"status":"retry","retryAfterSeconds":30,"detail":"answered 302 with a redirect to http://portal.example/` + isTo + `"}`},
		{"moved", "", 301, []string{"Location", "https://new.example/"},
			`{"status":"setup","detail":"answered 301 - redirects are not followed: set the URL to where it leads (https://new.example/)"}`},
		{"a date", "", 429, []string{"Date", "Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After", "Sun, 06 Nov 1994 08:51:07 GMT"}, `{"status":"retry","retryAfterSeconds":90,"detail":"answered 429"}`},
		{"a date without another", "", 503, []string{"Retry-After", "Sun, 06 Nov 2094 08:51:07 GMT"}, `{"status":"retry","retryAfterSeconds":3600,"detail":"answered 503"}`},
		{"a date that has passed", "", 429, []string{"Retry-After", "Sun, 06 Nov 1994 08:51:07 GMT"}, `{"status":"retry","detail":"answered 429"}`},
		{"no date", "", 429, []string{"Retry-After", "Sun, 06 eco 1994 08:51:07 GMT"}, `{"status":"retry","detail":"answered 429"}`},
	} {
		do, _ := sdktest.Answer(c.status, c.body, c.headers...)
		restore := sdk.Use(&sdktest.Host{HTTP: do, Now: time.Date(2026, 11, 28, 16, 0, 0, 0, time.UTC)})
		if err := sdk.Start(`{"url":"https://hook.example/x"}`); err != nil {
			t.Fatal(err)
		}
		if out, _ := sdk.Run(sdk.HookNotify, `{"event":{"id":"01J","type":"message"},`+peerJSON+`}`); out != c.want {
			t.Errorf("%s: %s, want %s", c.name, out, c.want)
		}
		restore()
	}
}
