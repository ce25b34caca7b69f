package hooks

import (
	"errors"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// How long loadAgain waits, at first and at most.
const (
	firstLoadAgain = time.Second
	lastLoadAgain  = 5 * time.Minute
)

// loadAgain tries a load again that failed for a reason that passes: no space, no
// descriptors, no memory.
func (m *Manager) loadAgain(s *slot) {
	for attempt := 1; ; attempt++ {
		select {
		case <-time.After(core.Backoff(attempt, firstLoadAgain, lastLoadAgain)):
		case <-m.ctx.Done():
			return
		}
		if !m.loadOnce(s) {
			return
		}
	}
}

// loadOnce loads a slot that has not loaded and is still wanted, and says whether to
// try again.
func (m *Manager) loadOnce(s *slot) bool {
	m.turn.Lock()
	defer m.turn.Unlock()
	m.mu.Lock()
	p, wanted := s.loaded, slices.Contains(m.slots, s) && s.err != nil
	m.mu.Unlock()
	return wanted && errors.Is(m.loadNow(m.ctx, s, p), core.Unavailable)
}
