package backup

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
)

// How often progress is said: on a terminal in the same line, else in a new one.
const (
	redrawEvery = 100 * time.Millisecond
	sayEvery    = 10 * time.Second
)

// progress says how far something long is. Safe for concurrent use.
type progress struct {
	out      io.Writer
	terminal bool
	now      func() time.Time

	mu    sync.Mutex // guards the rest
	last  time.Time
	width int // of the line that stands on the terminal
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, terminal: term.IsTerminal(out), now: time.Now, last: time.Now()}
}

// tell is a store.Progress.
func (p *progress) tell(step string, rows int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	every := sayEvery
	if p.terminal {
		every = redrawEvery
	}
	now := p.now()
	if now.Sub(p.last) < every {
		return
	}
	p.last = now
	p.write(fmt.Sprintf("%s: %d", step, rows))
}

func (p *progress) write(line string) {
	if !p.terminal {
		fmt.Fprintln(p.out, line)
		return
	}
	fmt.Fprintf(p.out, "\r%s%s", line, strings.Repeat(" ", max(p.width-len(line), 0)))
	p.width = len(line)
}

// end leaves a clean line on the terminal.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width > 0 {
		p.write("")
		fmt.Fprint(p.out, "\r")
	}
}
