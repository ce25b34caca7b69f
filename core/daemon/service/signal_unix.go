//go:build unix

package service

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Hangups delivers SIGHUP.
func Hangups() (<-chan os.Signal, func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGHUP)
	return ch, func() { signal.Stop(ch) }
}

// Notify tells systemd how we are, where it started us (sd_notify(3)).
func Notify(state string) { _, _ = systemd.SdNotify(false, state) } // without systemd there is nobody to tell

// WatchdogEvery is how often systemd wants a sign of life; zero: never.
func WatchdogEvery() time.Duration {
	every, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		return 0
	}
	return every / 2
}

// MonotonicMicros is CLOCK_MONOTONIC, by which systemd orders reloads
// (sd_notify(3), MONOTONIC_USEC).
func MonotonicMicros() string {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return ""
	}
	return strconv.FormatInt(t.Nano()/1000, 10)
}
