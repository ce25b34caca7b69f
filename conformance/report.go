package conformance

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Level says who wants a case to hold.
type Level string

// The levels, each with those before it.
const (
	Seeds    Level = "seeds"    // the specification
	Field    Level = "field"    // what gateways of 0.7 do
	Hardened Level = "hardened" // what is held beyond: docs/threat-model.md
)

// Levels are all of them, in their order.
var Levels = []Level{Seeds, Field, Hardened}

// counts reports whether a level counts up to another one.
func (l Level) counts(most Level) bool { return slices.Index(Levels, l) <= slices.Index(Levels, most) }

// Result is what came of one case.
type Result struct {
	Name    string `json:"name"`
	Level   Level  `json:"level"`
	Promise string `json:"promise"`
	Why     string `json:"why"`
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"` // what came, and what should have
	Skipped string `json:"skipped,omitempty"` // why it was not sent
}

// Score is what came of a level's cases.
type Score struct {
	Level   Level  `json:"level"`
	Counts  bool   `json:"counts"` // whether a failure fails the run
	Passed  int    `json:"passed"`
	Failed  int    `json:"failed"`
	Skipped int    `json:"skipped"`
	Advice  string `json:"advice"` // what to do, in a sentence

	peer bool // only cases of a peer were skipped
}

// Report is what came of a run.
type Report struct {
	URL     string   `json:"url"`
	Gateway string   `json:"gateway"` // the version on its card; empty: none
	OK      bool     `json:"ok"`      // no failure at a level that counts
	Scores  []Score  `json:"scores"`
	Results []Result `json:"results"`
}

// sum makes the scores.
func (r *Report) sum(most Level) {
	if most == "" {
		most = Field
	}
	r.OK = true
	for _, level := range Levels {
		s := Score{Level: level, Counts: level.counts(most)}
		for _, c := range r.Results {
			switch {
			case c.Level != level:
			case c.Skipped != "":
				s.peer = strings.HasPrefix(c.Name, "peer: ") && (s.peer || s.Skipped == 0)
				s.Skipped++
			case c.OK:
				s.Passed++
			default:
				s.Failed++
			}
		}
		if s.Passed+s.Failed+s.Skipped == 0 {
			continue
		}
		s.Advice = advice(s)
		r.OK = r.OK && (s.Failed == 0 || !s.Counts)
		r.Scores = append(r.Scores, s)
	}
}

// advice says what to do about a score.
func advice(s Score) string {
	switch {
	case s.Failed == 0 && s.Skipped > 0 && s.peer:
		return "What was sent holds. Cases of an approved peer were not sent: see why."
	case s.Failed == 0 && s.Skipped > 0:
		return "What was sent holds. What was not, because the gateway would keep it, shows that it takes requests unverified: update it to 0.7 or later."
	case s.Level == Seeds && s.Failed > 0:
		return "Other gateways cannot rely on this one: compare its answers with docs/protocol.md."
	case s.Level == Field && s.Failed > 0:
		return "Gateways of 0.7 answer otherwise: update this one if it is older, or compare its answers with docs/protocol.md."
	case s.Level == Hardened && s.Failed > 0:
		return "This gateway lets through, or answers less strictly, what docs/threat-model.md holds against: read each promise, and put a stricter gateway or a proxy before it where it matters."
	case s.Level == Hardened:
		return "Nothing that was tried gets through."
	}
	return "Nothing to do."
}

// Failures are the cases that failed, those at levels that count first.
func (r *Report) Failures(counting bool) []Result {
	var out []Result
	for _, s := range r.Scores {
		for _, c := range r.Results {
			if c.Level == s.Level && s.Counts == counting && !c.OK && c.Skipped == "" {
				out = append(out, c)
			}
		}
	}
	return out
}

// WriteJUnit writes the report as JUnit XML, a suite for each level. A failure at a
// level that does not count is a skipped case with its message.
func (r *Report) WriteJUnit(w io.Writer) error {
	type note struct {
		Message string `xml:"message,attr"`
	}
	type testcase struct {
		Name    string `xml:"name,attr"`
		Class   string `xml:"classname,attr"`
		Failure *note  `xml:"failure"`
		Skipped *note  `xml:"skipped"`
	}
	type suite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	out := struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		Suites  []suite  `xml:"testsuite"`
	}{Name: "ogp conformance " + r.URL}
	for _, s := range r.Scores {
		su := suite{Name: string(s.Level), Tests: s.Passed + s.Failed + s.Skipped, Skipped: s.Skipped}
		for _, c := range r.Results {
			if c.Level != s.Level {
				continue
			}
			t := testcase{Name: c.Name, Class: "ogp." + string(c.Level) + "." + c.Promise}
			switch {
			case c.Skipped != "":
				t.Skipped = &note{c.Skipped}
			case c.OK:
			case s.Counts:
				t.Failure = &note{printable(c.Problem)}
				su.Failures++
			default:
				t.Skipped = &note{printable(c.Problem)}
				su.Skipped++
			}
			su.Cases = append(su.Cases, t)
		}
		out.Suites = append(out.Suites, su)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("conformance: %w", err)
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("conformance: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// printable takes out what XML cannot say.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r >= 0x20 && r != 0xfffe && r != 0xffff {
			return r
		}
		return '\uFFFD'
	}, text)
}
