package memory_test

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) core.Store { return memory.New() }, nil)
}
