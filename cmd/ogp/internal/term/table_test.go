package term

import (
	"bytes"
	"strings"
	"testing"
)

func TestTableAlignsWideRunes(t *testing.T) {
	header := []string{"NAME", "STATE", "TEXT"}
	rows := [][]string{{"ben", "up", "hello"}, {"日本語", "up", "今日は"}, {"🙂🙂", "down", "é"}, {"", "up", ""}}
	var out bytes.Buffer
	Table(&out, header, rows)
	want := "NAME    STATE  TEXT\n" +
		"ben     up     hello\n" +
		"日本語  up     今日は\n" +
		"🙂🙂    down   é\n" +
		"        up\n"
	if out.String() != want {
		t.Errorf("table:\n%swant:\n%s", out.String(), want)
	}
}

// TestTableFitsATerminal holds that no line is wider than the terminal, and that
// the first columns, which people copy, give way last.
func TestTableFitsATerminal(t *testing.T) {
	header := []string{"ID", "URL", "TEXT"}
	rows := [][]string{{"01JABCDEFGHJKMNPQRSTVWXYZ0", "https://a-rather-long-name.example.org/", strings.Repeat("今日は ", 20)},
		{"01JABCDEFGHJKMNPQRSTVWXYZ1", "https://b.example.org/", "short"}}
	for width := 5; width < 200; width++ {
		text := NewRows(nil, header).layOut(rows, width)
		for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			if got := cells.StringWidth(line); got > width {
				t.Fatalf("width %d: a line takes %d: %q", width, got, line)
			}
		}
		if width >= 60 && !strings.Contains(text, rows[0][0]+"  ") {
			t.Errorf("width %d cuts the id:\n%s", width, text)
		}
	}
	if text := NewRows(nil, header).layOut(rows, 0); !strings.Contains(text, strings.TrimSpace(rows[0][2])) {
		t.Errorf("without a terminal, a text was cut:\n%s", text)
	}
}

// TestTableKeepsWhatPeopleCompare holds that a fingerprint is whole at 80 and at 120
// columns, and that the URL gives way.
func TestTableKeepsWhatPeopleCompare(t *testing.T) {
	header := []string{"ALIAS", "FINGERPRINT", "STATE", "HEALTH", "LAST CONTACT", "URL", "SAYS IT IS"}
	row := []string{"benjamin", "VIZ4-JRRE-AAZO-GUNG-LVD3", "approved", "established", "12m ago", "https://a-rather-long-name.example.org/with/a/path", `"Benjamin of the long name"`}
	for _, width := range []int{80, 120} {
		text := NewRows(nil, header).layOut([][]string{row}, width)
		if !strings.Contains(text, row[1]+" ") {
			t.Errorf("width %d: the fingerprint is cut:\n%s", width, text)
		}
		if strings.Contains(text, row[5]) || !strings.Contains(text, "…") {
			t.Errorf("width %d: the URL does not give way:\n%s", width, text)
		}
	}
}

func TestTableIsHarmless(t *testing.T) {
	var out bytes.Buffer
	Table(&out, []string{"NAME", "B"}, [][]string{{"a\x1b[2J\nb", "c"}})
	if got, want := out.String(), "NAME     B\na\uFFFD[2J b  c\n"; got != want {
		t.Errorf("table = %q, want %q", got, want)
	}
}

// TestRowsComeInPieces: the header stands once, and a column keeps the width that it had.
func TestRowsComeInPieces(t *testing.T) {
	var out strings.Builder
	rows := NewRows(&out, []string{"A", "B"})
	rows.Add([][]string{{"long", "1"}})
	rows.Add([][]string{{"x", "2"}})
	rows.Add([][]string{{"longer", "3"}, {"y", "4"}})
	if want := "A     B\nlong  1\nx     2\nlonger  3\ny       4\n"; out.String() != want {
		t.Errorf("rows in pieces:\n%swant:\n%s", out.String(), want)
	}
}
