package main

import (
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, "cases") }

func TestWithoutAStoreItSaysSo(t *testing.T) {
	host := &sdktest.Host{}
	defer sdk.Use(host)()
	out, _ := sdk.Run(sdk.HookHandle, `{"message":{"intent":"calendar.freebusy","payload":{"days":["2026-11-23"]}}}`)
	if out != `{"status":"error","error":"the calendar is not available"}` || len(host.Logs) != 1 || !strings.Contains(host.Logs[0], "not granted") {
		t.Errorf("answer = %s, logs %q", out, host.Logs)
	}
}
