package daemon

import (
	"os"
	"time"
)

// hangups delivers nothing: Windows has no SIGHUP.
func hangups() (<-chan os.Signal, func()) { return nil, func() {} }

func notifySystemd(string) {}

func watchdogEvery() time.Duration { return 0 }

func monotonicMicros() string { return "" }
