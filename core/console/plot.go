package console

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// chart is lines over time: an SVG with our own colours, which a screen reader reads as its
// summary, and a table of the same numbers.
type chart struct {
	ID, Title, Unit string
	At              []time.Time
	Known           []bool // whether we were running
	Series          []series
}

// series is one line. Class is one of the stylesheet's colours.
type series struct {
	Name, Class string
	Values      []float64
}

// The size of a chart, in its own units.
const (
	plotWide, plotHigh = 640, 180
	plotLeft, plotLow  = 46, 24
)

// Most is the highest value of a line.
func (s series) Most() string {
	most := 0.0
	for _, v := range s.Values {
		most = math.Max(most, v)
	}
	return number(most)
}

// sum is all of a line.
func (s series) sum() (n int) {
	for _, v := range s.Values {
		n += int(v)
	}
	return n
}

func number(v float64) string {
	if v >= 10 || v == math.Trunc(v) {
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// ceiling is a round number not below v.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if v <= n*base {
			return n * base
		}
	}
	return 10 * base
}

// SVG draws the chart.
func (c chart) SVG() template.HTML {
	top := 0.0
	for _, s := range c.Series {
		for _, v := range s.Values {
			top = math.Max(top, v)
		}
	}
	top = ceiling(top)
	n := max(len(c.At)-1, 1)
	x := func(i int) float64 { return plotLeft + float64(i)*(plotWide-plotLeft-4)/float64(n) }
	y := func(v float64) float64 { return 6 + (1-v/top)*(plotHigh-plotLow-6) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="plot" viewBox="0 0 %d %d" role="img" aria-labelledby="%s-title"><title id="%s-title">%s, the last 24 hours`, plotWide, plotHigh, c.ID, c.ID, template.HTMLEscapeString(c.Title))
	for _, s := range c.Series {
		fmt.Fprintf(&b, "; %s at the most %s %s", template.HTMLEscapeString(s.Name), s.Most(), c.Unit)
	}
	b.WriteString("</title>")
	for _, v := range []float64{0, top / 2, top} {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`, plotLeft, plotWide-4, y(v), y(v), plotLeft-6, y(v)+4, number(v))
	}
	for i, at := range c.At {
		if at.Hour()%6 == 0 && at.Minute() < chartStep && i > 0 {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x(i), plotHigh-6, at.Local().Format("15:04"))
		}
	}
	for k, s := range c.Series {
		path, pen := "", "M"
		for i, v := range s.Values {
			if !c.Known[i] {
				pen = "M"
				continue
			}
			path += fmt.Sprintf("%s%.1f %.1f", pen, x(i), y(v))
			if pen == "M" {
				path += "h2" // so that one alone is seen
			}
			pen = "L"
		}
		fmt.Fprintf(&b, `<path class="line %s dash%d" d="%s"/>`, s.Class, k, path)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// Rows are the hours of the chart with anything in them, for a table.
func (c chart) Rows() (rows [][]string) {
	for i, at := range c.At {
		row, any := []string{at.Local().Format("Mon 15:04")}, false
		for _, s := range c.Series {
			row, any = append(row, number(s.Values[i])), any || s.Values[i] != 0
		}
		if any {
			rows = append(rows, row)
		}
	}
	return rows
}
