package main

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Cases(t, "cases") }

func TestConfigurationIsChecked(t *testing.T) {
	for config, want := range map[string]string{
		`{"rate":"x"}`:    `rate must be like "10/3600": requests in seconds`,
		`{"rate":"1/60"}`: "intents must name at least one",
	} {
		if err := sdk.Start(config); err == nil || err.Error() != want {
			t.Errorf("Start(%s) = %v, want %s", config, err, want)
		}
	}
}
