package console

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// acts are the paths of all forms that do something, as routes.go has them, and whether a
// form carries files.
func acts(t *testing.T) map[string]bool {
	t.Helper()
	source, err := os.ReadFile("routes.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	variable := regexp.MustCompile(`\{[a-z]+\}`)
	for _, m := range regexp.MustCompile(`mux\.HandleFunc\("POST ([^"]+)", s\.(\w+)\(?`).FindAllStringSubmatch(string(source), -1) {
		switch m[2] {
		case "act", "sends":
			out[variable.ReplaceAllString(m[1], "x")] = m[2] == "sends"
		case "login":
		default:
			t.Errorf("POST %s is neither an act nor a form with files", m[1])
		}
	}
	if len(out) < 15 {
		t.Fatalf("%d acts found in routes.go: the test does not see them any more", len(out))
	}
	return out
}

// form is the body of a form that carries nothing but its token.
func form(files bool, token string) (body, kind string) {
	if !files {
		return "token=" + token, "application/x-www-form-urlencoded"
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("token", token) // into memory
	_ = w.Close()
	return b.String(), w.FormDataContentType()
}

// TestW2EveryActIsRefused: docs/threat-model.md#w2
func TestW2EveryActIsRefused(t *testing.T) {
	for path, files := range acts(t) {
		s, f, b := open(t)
		now := time.Now()
		s.sessions.now = func() time.Time { return now }
		b.enter(s)
		post := func(token string, change func(*http.Request)) int {
			body, kind := form(files, token)
			r, err := http.NewRequest("POST", b.base+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", kind)
			if change != nil {
				change(r)
			}
			resp, err := b.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode
		}
		spent := b.token()
		if path != "/leave" {
			post(spent, nil) // whatever comes of it: nothing that f knows is called x
		} else {
			sessionOfJar(t, s, b).spend(spent)
		}
		f.calls = nil
		for _, c := range []struct {
			name, token string
			change      func(*http.Request)
			want        int
		}{
			{"a foreign origin", b.token(), func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, http.StatusForbidden},
			{"a foreign site", b.token(), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden},
			{"a foreign host", b.token(), func(r *http.Request) { r.Host = "evil.example" }, http.StatusMisdirectedRequest},
			{"no token", "", nil, http.StatusForbidden},
			{"another session's token", s.sessionToken(t), nil, http.StatusForbidden},
			{"the same form twice", spent, nil, http.StatusConflict},
			{"no session", b.token(), func(*http.Request) { b.Jar = nil }, http.StatusUnauthorized},
		} {
			jar := b.Jar
			if got := post(c.token, c.change); got != c.want {
				t.Errorf("POST %s, %s: %d, want %d", path, c.name, got, c.want)
			}
			b.Jar = jar
		}
		fresh := b.token()
		now = now.Add(sessionLife)
		if got := post(fresh, nil); got != http.StatusUnauthorized {
			t.Errorf("POST %s after the session: %d", path, got)
		}
		if f.noted() != "" {
			t.Errorf("POST %s has done %s", path, f.noted())
		}
		s.End()
	}
}

// sessionOfJar is the session of a browser.
func sessionOfJar(t *testing.T, s *Server, b *browser) *session {
	t.Helper()
	r, err := http.NewRequest("GET", b.base, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	return s.sessions.of(r)
}
