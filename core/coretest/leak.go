package coretest

import (
	"testing"

	"go.uber.org/goleak"
)

// Main runs a package's tests and fails when they leave goroutines behind:
// func TestMain(m *testing.M) { coretest.Main(m) }.
func Main(m *testing.M) {
	// Two of fasthttp's own live on and cannot be waited for: its worker pools look
	// every 10 s whether they were stopped, and one writes the date for all servers.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}
