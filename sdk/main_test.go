package sdk_test

import (
	"os"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
)

func TestMain(m *testing.M) {
	plugin.CompileChildMain()
	os.Exit(m.Run())
}
