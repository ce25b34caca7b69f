package api_test

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

func TestOfTypes(t *testing.T) {
	for _, x := range []struct {
		types []string
		want  bool
	}{
		{nil, true}, {[]string{"federation"}, true}, {[]string{"federation.request"}, true}, {[]string{"message", "federation"}, true},
		{[]string{"fed"}, false}, {[]string{"message"}, false}, {[]string{"federation.request.x"}, false},
	} {
		if got := api.OfTypes(core.EventRequest, x.types); got != x.want {
			t.Errorf("api.OfTypes(%q, %q) = %v, want %v", core.EventRequest, x.types, got, x.want)
		}
	}
}
