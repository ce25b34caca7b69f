package console

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// The bounds of a form with files, which may be a module of 16 MiB and its cases.
const (
	maxSent     = 20 << 20
	maxFileSent = 16<<20 + 1 // what is larger is refused by whoever reads it
	maxParts    = 128
	sendsWithin = 5 * time.Minute  // also over a slow "ssh -L"
	stallsFor   = 20 * time.Second // without a byte, it is given up
	maxSends    = 2                // worked on at a time, as each is held in memory
	sendsWait   = 15 * time.Second // for a place
	doesWithin  = 3 * time.Minute  // for what is done then: a replay takes two at the most
)

// sent is a form with files.
type sent struct {
	url.Values
	Files map[string][]sentFile
}

type sentFile struct {
	Name string
	Text []byte
}

// file is the first file of a name, or nothing.
func (f sent) file(name string) []byte {
	if len(f.Files[name]) == 0 {
		return nil
	}
	return f.Files[name][0].Text
}

// moving reads what a browser sends, until it stalls or the time is over.
type moving struct {
	io.ReadCloser
	out    *http.ResponseController
	stalls time.Duration
	until  time.Time
}

func (m moving) Read(b []byte) (int, error) {
	next := time.Now().Add(m.stalls)
	if next.After(m.until) {
		next = m.until
	}
	_ = m.out.SetReadDeadline(next) // a recorder of a test has none
	return m.ReadCloser.Read(b)
}

// sends is a form that carries files: the session's own, sent once. Its token comes first, and
// no file after it is read before it is known. Few are worked on at a time; another waits a while.
func (s *Server) sends(f func(w http.ResponseWriter, r *http.Request, form sent) error) http.HandlerFunc {
	return s.view(func(w http.ResponseWriter, r *http.Request) error {
		out := http.NewResponseController(w)
		_ = out.SetWriteDeadline(time.Now().Add(sendsWithin + doesWithin)) // a recorder of a test has none
		parts, err := s.partsOf(w, r, time.Now().Add(sendsWithin))
		if err != nil {
			return core.Refuse(core.Malformed, "this form does not carry its files as the console's forms do")
		}
		if err := s.tokenFirst(r, parts); err != nil {
			return s.notOurs(w, r, err, parts)
		}
		select {
		case s.sending <- struct{}{}:
			defer func() { <-s.sending }()
		case <-time.After(s.patience):
			return core.Refuse(core.Unavailable, "other forms with files are being worked on; nothing was done").WithHint("go back and send it again in a moment")
		}
		form, err := readSent(parts)
		if errors.Is(err, os.ErrDeadlineExceeded) { // that has ended the context, and with it all pages
			plain(w, http.StatusRequestTimeout, "This form took too long to arrive; nothing was done. Go back, and send it again.")
			return nil
		}
		_, _ = io.Copy(io.Discard, r.Body) // read to its end, the browser's going away ends the context
		if err != nil {
			return err
		}
		if !areTexts(form.Values) {
			return errNoText
		}
		_ = out.SetReadDeadline(time.Now().Add(doesWithin)) // its end would be the browser's going away
		_ = out.SetWriteDeadline(time.Now().Add(doesWithin))
		return f(w, r, form)
	})
}

// partsOf reads what a form with files has in it, until it stalls or the time is over.
func (s *Server) partsOf(w http.ResponseWriter, r *http.Request, until time.Time) (*multipart.Reader, error) {
	r.Body = http.MaxBytesReader(w, moving{r.Body, http.NewResponseController(w), s.stalls, until}, maxSent)
	return r.MultipartReader()
}

// notOurs answers a form with files whose token does not count. One of a session that has
// ended while it was filled in is shown again, without its files.
func (s *Server) notOurs(w http.ResponseWriter, r *http.Request, err error, parts *multipart.Reader) error {
	if err != errOtherSession {
		return err
	}
	var form *again
	if files, unread := fieldsOf(r, parts); unread == nil && areTexts(r.PostForm) && areTexts(files) {
		form = againOf(r).withFiles(files)
	}
	if form != nil && !form.filled() {
		form = nil
	}
	s.problemOf(w, r, err, form)
	return nil
}

func (s *Server) tokenFirst(r *http.Request, parts *multipart.Reader) error {
	part, err := parts.NextPart()
	if err != nil {
		return cutOff(err)
	}
	token, err := io.ReadAll(io.LimitReader(part, 1<<10))
	if err != nil {
		return cutOff(err)
	}
	if part.FormName() != "token" {
		token = nil
	}
	return counts(r, string(token))
}

func cutOff(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return core.Refusef(core.TooLarge, "more than %d MiB was sent; nothing was done", maxSent>>20)
	}
	return &core.Error{Kind: core.Malformed, Public: "this form was cut off on the way; nothing was done", Err: err}
}

func readSent(parts *multipart.Reader) (sent, error) {
	form := sent{url.Values{}, map[string][]sentFile{}}
	for range maxParts {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return form, nil
		}
		if err != nil {
			return form, cutOff(err)
		}
		most := int64(maxBody)
		if part.FileName() != "" {
			most = maxFileSent
		}
		text, err := io.ReadAll(io.LimitReader(part, most+1))
		switch {
		case err != nil:
			return form, cutOff(err)
		case int64(len(text)) > most:
			return form, core.Refuse(core.TooLarge, "a field of this form is larger than the console takes; nothing was done")
		case part.FileName() != "":
			form.Files[part.FormName()] = append(form.Files[part.FormName()], sentFile{part.FileName(), text})
		default:
			form.Add(part.FormName(), string(text))
		}
	}
	return form, core.Refusef(core.TooLarge, "more than %d files and fields; nothing was done", maxParts)
}
