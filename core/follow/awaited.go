package follow

import "sync"

// Awaited counts who waits for each of several things. The zero value is ready. Safe for
// concurrent use.
type Awaited[K comparable] struct {
	mu sync.Mutex // guards n
	n  map[K]int
}

// Add adds to those who wait, or takes some away.
func (a *Awaited[K]) Add(k K, by int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == nil {
		a.n = map[K]int{}
	}
	if a.n[k] += by; a.n[k] == 0 {
		delete(a.n, k)
	}
}

// Has reports whether anybody waits.
func (a *Awaited[K]) Has(k K) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n[k] > 0
}
