package console

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// The measures of a chart within its own box, which the page stretches to its width.
const (
	chartWide = 600
	chartHalf = 100 // of its height, above and below the line
	fewest    = 12  // pieces that there is room for, so that one of them is no wall
)

// fatesChart draws the fates over time: above the line what was decided, below it what would
// be. Colours come from the stylesheet. A table beside it has the same for those who do not see
// it.
func fatesChart(list []api.BucketView) template.HTML {
	if len(list) == 0 {
		return ""
	}
	most := 1
	for _, b := range list {
		most = max(most, total(b.Then), total(b.Now))
	}
	var b strings.Builder
	first, last := list[0].From, list[len(list)-1].From
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-labelledby="chart-title chart-about">`, chartWide, 2*chartHalf)
	fmt.Fprintf(&b, `<title id="chart-title">Fates over time</title><desc id="chart-about">From %s to %s. Above the line is what was decided, below it what would be; the table after it has the numbers.</desc>`, day(first), day(last))
	wide := float64(chartWide) / float64(max(len(list), fewest))
	for i, one := range list {
		x, w := float64(i)*wide, max(wide-1, wide*0.8)
		for _, side := range []struct {
			fates map[string]int
			up    bool
			says  string
		}{{one.Then, true, "then"}, {one.Now, false, "now"}} {
			at := float64(chartHalf)
			for _, name := range api.Fates {
				n := side.fates[name]
				if n == 0 {
					continue
				}
				high := float64(n) * (chartHalf - 2) / float64(most)
				y := at
				if side.up {
					at -= high
					y = at
				} else {
					at += high
				}
				fmt.Fprintf(&b, `<rect class="fate %s" x="%.2f" y="%.2f" width="%.2f" height="%.2f"><title>%s, %s: %d %s</title></rect>`, name, x, y, w, high, day(one.From), side.says, n, name)
			}
		}
	}
	fmt.Fprintf(&b, `<line class="axis" x1="0" y1="%d" x2="%d" y2="%d"/></svg>`, chartHalf, chartWide, chartHalf)
	return template.HTML(b.String())
}

// hoursWide is how many hours the chart of a plugin has.
const hoursWide = 48

// hoursChart draws what calls took, hour by hour, up to the last hour that is there.
func hoursChart(name string, list []hourBar) template.HTML {
	if len(list) == 0 {
		return ""
	}
	most, last := 0.0, list[len(list)-1].From
	for _, h := range list {
		most = max(most, h.Tall)
	}
	var b strings.Builder
	says := template.HTMLEscapeString(fmt.Sprintf("What a call of %s took, hour by hour: %s in the hour of %s, at most %.0f", name, list[len(list)-1].Says, day(last), most))
	fmt.Fprintf(&b, `<svg class="hours" viewBox="0 0 %d 100" preserveAspectRatio="none" role="img" aria-label="%s">`, 10*hoursWide, says)
	for _, h := range list {
		x := hoursWide - 1 - int(last.Sub(h.From)/time.Hour)
		if x < 0 {
			continue
		}
		tall := 2 + 96*h.Tall/max(most, 1e-9)
		fmt.Fprintf(&b, `<rect class="hour" x="%d" y="%.1f" width="8" height="%.1f"><title>%s: %s, %s</title></rect>`, 10*x+1, 100-tall, tall, day(h.From), text.Count(int(h.Calls), "call"), template.HTMLEscapeString(h.Says))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

func total(fates map[string]int) (n int) {
	for _, one := range fates {
		n += one
	}
	return n
}

// day is a time in this machine's own, to the minute.
func day(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// micros is a time in the unit that reads best.
func micros(us float64) string {
	switch {
	case us >= 1e6:
		return fmt.Sprintf("%.1f s", us/1e6)
	case us >= 1000:
		return fmt.Sprintf("%.1f ms", us/1000)
	}
	return fmt.Sprintf("%.1f us", us)
}
