package term

import (
	"io"
	"os"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// cells measures texts in the cells of a terminal, in which a CJK character or an
// emoji takes two. It is the same in every locale.
var cells = &runewidth.Condition{StrictEmojiNeutral: true}

// widthOf is how many cells a text takes. Most texts are ASCII that shows, a cell each.
func widthOf(s string) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return cells.StringWidth(s)
		}
	}
	return len(s)
}

// Padded fills a text up to a width.
func Padded(s string, width int) string {
	return s + strings.Repeat(" ", max(width-widthOf(s), 0))
}

// Shortened cuts a text to a width, with an ellipsis in the last cell.
func Shortened(s string, width int) string {
	if widthOf(s) <= width {
		return s
	}
	return cells.Truncate(s, width, "…")
}

// SizeOf is how many cells a line of w's terminal has, and how many lines; 0 where
// there is none.
func SizeOf(w io.Writer) (width, height int) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// Table writes aligned columns. Where w is a terminal, columns give way until a row
// fits in a line, the last first; ids and fingerprints stay whole.
func Table(w io.Writer, header []string, rows [][]string) { NewRows(w, header).Add(rows) }

// Rows are a table that is written piece by piece. A column is as wide as what has stood in
// it so far.
type Rows struct {
	w      io.Writer
	header []string
	widths []int // of what has been written; nil: nothing has
}

// NewRows begins a table.
func NewRows(w io.Writer, header []string) *Rows { return &Rows{w: w, header: header} }

// Add writes rows, the first time below the header.
func (t *Rows) Add(rows [][]string) {
	width, _ := SizeOf(t.w)
	_, _ = io.WriteString(t.w, t.layOut(rows, width)) // as with every output: nobody is left to tell
}

// gap is what stands between two columns.
const gap = "  "

// layOut lays out rows in at most width cells a line; 0: as many as it takes.
func (t *Rows) layOut(rows [][]string, width int) string {
	if t.widths == nil {
		t.widths = make([]int, len(t.header))
		rows = append([][]string{t.header}, rows...)
	}
	all := make([][]string, 0, len(rows))
	for _, r := range rows {
		safe := make([]string, len(r))
		for i, cell := range r {
			safe[i] = SafeLine(cell)
			t.widths[i] = max(t.widths[i], widthOf(safe[i]))
		}
		all = append(all, safe)
	}
	widths := slices.Clone(t.widths)
	if width > 0 {
		narrow(widths, t.header, width)
	}
	var b strings.Builder
	for _, r := range all {
		var line strings.Builder
		for i, cell := range r {
			if i > 0 {
				line.WriteString(gap)
			}
			line.WriteString(Padded(Shortened(cell, widths[i]), widths[i]))
		}
		text := strings.TrimRight(line.String(), " ")
		if width > 0 {
			text = Shortened(text, width)
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}

// whole are the columns that people compare or copy: never shortened.
var whole = []string{"ID", "FINGERPRINT", "CODE", "EVENT", "SHA-256"}

// narrow takes from the last columns first what is too much, as names come first: down
// to some room for each, and then to a sign that there is more. What people compare stays.
func narrow(widths []int, header []string, width int) {
	excess := (len(widths) - 1) * len(gap)
	for _, w := range widths {
		excess += w
	}
	excess -= width
	for _, least := range []int{12, 4} {
		for i := len(widths) - 1; i >= 0 && excess > 0; i-- {
			if slices.Contains(whole, header[i]) || i == 0 && least > 4 {
				continue
			}
			room := least
			if least > 4 {
				room = max(least, widthOf(header[i]))
			}
			cut := min(excess, max(widths[i]-room, 0))
			widths[i] -= cut
			excess -= cut
		}
	}
}
