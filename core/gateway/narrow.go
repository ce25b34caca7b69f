package gateway

import (
	"slices"

	"github.com/opengatewayprotocol/ogp/core/scope"
)

// stricter is the level that leaves an agent less to do. A policy can make the
// operator's level stricter and never laxer; where one is empty, the other
// stands. docs/threat-model.md#p3
func stricter(a, b string) string {
	rank := func(level string) int { return slices.Index(scope.LevelNames, level) }
	if rank(b) < 0 || a != "" && rank(a) >= rank(b) {
		return a
	}
	return b
}
