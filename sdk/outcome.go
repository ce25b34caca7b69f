package sdk

import (
	"cmp"
	"strconv"
	"strings"
)

// OutcomeOf sorts the answer to a notification that was one HTTP request: a 2xx is
// delivered; 408, 409, 425, 429, every 5xx and no answer at all are tried again, as late as
// Retry-After says; 413 and 422 blame the event; the rest waits for the operator, and the
// detail says what to change. A web page, also with a 2xx, and a redirect that is not for
// good are what a proxy or a captive page answers in the receiver's place: they are tried
// again.
func OutcomeOf(r *HTTPResponse, err error) Outcome {
	if ce, ok := err.(*CallError); ok {
		switch ce.Code {
		case CallFailed, CallLimit:
			return Retry(0, err.Error())
		case CallNotGranted:
			return SetUp(err.Error()) // what to change is in the host's words
		}
	}
	if err != nil {
		return SetUp(err.Error() + " - check this plugin's settings")
	}
	said := "answered " + strconv.FormatInt(r.Status, 10)
	if text := Line(r.Body, 200); text != "" {
		said += ": " + text
	}
	switch s := r.Status; {
	case s >= 200 && s < 300 && r.IsPage():
		return Retry(r.RetryAfter(), NotTheReceiver(r))
	case s >= 200 && s < 300:
		return Delivered()
	case s == 408 || s == 409 || s == 425 || s == 429 || s >= 500:
		return Retry(r.RetryAfter(), said)
	case s == 413 || s == 422:
		return Failed(said + " - the receiver does not take this event; its limits may be raised there")
	case s == 401 || s == 403:
		return SetUp(said + " - check the secret that this plugin sends, and what the receiver allows")
	case s == 302 || s == 303 || s == 307:
		return Retry(r.RetryAfter(), NotTheReceiver(r))
	case s >= 300 && s < 400:
		return SetUp(said + " - redirects are not followed: " + LeadsTo(r, "the URL"))
	}
	return SetUp(said + " - check the URL, and that the receiver takes a POST of JSON there")
}

// NotTheReceiver says that something else has answered in the receiver's place, and what.
func NotTheReceiver(r *HTTPResponse) string {
	said := "answered " + strconv.FormatInt(r.Status, 10)
	switch {
	case r.IsPage():
		said += " with a web page"
		if title := pageTitle(r.Body); title != "" {
			said += " \"" + title + "\""
		}
	case r.Status >= 300 && r.Status < 400:
		said += " with a redirect to " + cmp.Or(Line(r.Header("location"), 200), "nowhere")
	case r.Body == "":
		said += " without a body"
	default:
		said += ": " + Line(r.Body, 200)
	}
	return said + " - a proxy or a captive page seems to have answered in the receiver's place; if that lasts, check the URL"
}

// maxRetryAfter bounds how long a receiver can put us off, in seconds.
const maxRetryAfter = 3600

// RetryAfter is how long the receiver asks to be left alone, in seconds up to an hour;
// zero: it does not say. Both forms of the header count: seconds, and a date, which is
// taken against the answer's own Date or, without one, the host's clock, if that is granted.
func (r *HTTPResponse) RetryAfter() int64 {
	header := r.Header("retry-after")
	if seconds, ok := ParseInt(header); ok {
		return max(0, min(seconds, maxRetryAfter))
	}
	until, ok := httpDate(header)
	if !ok {
		return 0
	}
	now, ok := httpDate(r.Header("date"))
	if !ok {
		var err error
		if now, err = Now(); err != nil {
			return 0
		}
	}
	return max(0, min((int64(until-now)+999)/1000, maxRetryAfter))
}

// months are in the order of their numbers.
const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// httpDate reads a date as servers write it today: Sun, 06 Nov 1994 08:49:37 GMT.
func httpDate(s string) (Time, bool) {
	const shape = "Sun, 06 Nov 1994 08:49:37 GMT"
	if len(s) != len(shape) || s[25:] != shape[25:] {
		return 0, false
	}
	at := strings.Index(months, s[8:11])
	if at < 0 || at%3 != 0 {
		return 0, false
	}
	month := strconv.Itoa(101 + at/3)[1:]
	return ParseTime(s[12:16] + "-" + month + "-" + s[5:7] + "T" + s[17:25] + "Z")
}

// IsPage reports whether the body is a web page. What Content-Type says is not enough:
// frameworks call an empty or a plain body text/html, too.
func (r *HTTPResponse) IsPage() bool {
	body := r.Body
	for {
		body = strings.TrimLeft(body, "\ufeff \t\r\n")
		end := ""
		switch {
		case strings.HasPrefix(body, "<!--"):
			end = "-->"
		case strings.HasPrefix(body, "<?"):
			end = "?>"
		}
		if end == "" {
			break
		}
		at := strings.Index(body, end)
		if at < 0 {
			return false
		}
		body = body[at+len(end):]
	}
	if !strings.HasPrefix(body, "<") {
		return false
	}
	if strings.Contains(lower(r.Header("content-type")), "html") {
		return true
	}
	body = lower(body[:min(len(body), 16)])
	for _, tag := range [...]string{"<!doctype html", "<html", "<head", "<body", "<title", "<meta", "<script"} {
		if strings.HasPrefix(body, tag) {
			return true
		}
	}
	return false
}

// pageTitle is a page's title in one line.
func pageTitle(body string) string {
	at := strings.Index(lower(body[:min(len(body), 4096)]), "<title")
	if at < 0 {
		return ""
	}
	_, rest, _ := strings.Cut(body[at:], ">")
	title, _, ended := strings.Cut(rest, "<")
	if !ended {
		return ""
	}
	return Line(title, 80)
}

// lower is for letters of ASCII alone: the tables of all others make a module larger.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// LeadsTo says what to do about a redirect: to set what is named to where it leads.
func LeadsTo(r *HTTPResponse, setting string) string {
	to := Line(r.Header("location"), 200)
	if to == "" {
		return "this one does not say where it leads; check " + setting
	}
	return "set " + setting + " to where it leads (" + to + ")"
}
