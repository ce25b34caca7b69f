package scope_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

func TestCheckGrants(t *testing.T) {
	many := func(n int) (out []core.Grant) {
		for i := range n {
			out = append(out, core.Grant{Intent: fmt.Sprint("i", i), Enabled: true})
		}
		return out
	}
	var topics []string
	for i := range 9000 {
		topics = append(topics, fmt.Sprint("topic-", i))
	}
	for name, c := range map[string]struct {
		grants []core.Grant
		good   bool
	}{
		"none":        {nil, true},
		"the most":    {many(scope.MaxGrants), true},
		"one more":    {many(scope.MaxGrants + 1), false},
		"reserved":    {[]core.Grant{{Intent: core.IntentStatus, Enabled: true}}, false},
		"a long list": {[]core.Grant{{Intent: core.IntentAgentComms, Enabled: true, Topics: topics}}, false},
		"some topics": {[]core.Grant{{Intent: core.IntentAgentComms, Enabled: true, Topics: topics[:100]}}, true},
	} {
		if err := scope.CheckGrants(c.grants); (err == nil) != c.good || err != nil && !errors.Is(err, core.Malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
