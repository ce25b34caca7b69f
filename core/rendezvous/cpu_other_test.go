//go:build !linux

package rendezvous

import "time"

var began = time.Now()

// Elsewhere the clock has to do.
func cpuTime() time.Duration    { return time.Since(began) }
func threadTime() time.Duration { return time.Since(began) }
