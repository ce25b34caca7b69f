package service

import (
	"os"
	"time"
)

// Hangups delivers nothing: Windows has no SIGHUP.
func Hangups() (<-chan os.Signal, func()) { return nil, func() {} }

// Notify tells nobody: Windows has no systemd.
func Notify(string) {}

// WatchdogEvery is never.
func WatchdogEvery() time.Duration { return 0 }

// MonotonicMicros is for systemd alone.
func MonotonicMicros() string { return "" }
