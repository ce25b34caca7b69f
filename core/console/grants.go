package console

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// grantRow is a grant as a form has it: texts, in the words of the command line.
type grantRow struct {
	Intent, Rate, Bytes, Topics, Personas, Expires string
	Off                                            bool
}

// maxRows bounds the lines of a form.
const maxRows = 64

func rowsOf(grants []core.Grant) []grantRow {
	rows := make([]grantRow, 0, len(grants)+1)
	for _, g := range grants {
		rows = append(rows, grantRow{Intent: g.Intent, Rate: rateOf(g), Bytes: bytesOf(g), Topics: strings.Join(g.Topics, ", "),
			Personas: strings.Join(g.Personas, ", "), Expires: g.ExpiresAt, Off: !g.Enabled})
	}
	return append(rows, grantRow{})
}

// rateOf and bytesOf are the bounds of a grant, which are the defaults where it names none.
func rateOf(g core.Grant) string {
	if g.RateLimit == nil {
		return core.DefaultRate.String()
	}
	return g.RateLimit.String()
}

func bytesOf(g core.Grant) string { return sized(g).ByteLimit.String() }

// rowsIn are the lines of a form, as they are written there.
func rowsIn(r *http.Request) []grantRow {
	cell := func(name string, i int) string {
		if list := r.PostForm[name]; i < len(list) {
			return strings.TrimSpace(list[i])
		}
		return ""
	}
	rows := make([]grantRow, min(len(r.PostForm["intent"]), maxRows+1))
	for i := range rows {
		rows[i] = grantRow{cell("intent", i), cell("rate", i), cell("bytes", i), cell("topics", i), cell("personas", i), cell("expires", i), cell("off", i) == "off"}
	}
	return rows
}

// readGrants reads the lines of a form. A line without an intent is none.
func readGrants(r *http.Request, now time.Time) ([]core.Grant, error) {
	rows := rowsIn(r)
	if len(rows) > maxRows {
		return nil, core.Refusef(core.TooLarge, "more lines than one form takes: %d at the most", maxRows)
	}
	var out []core.Grant
	for _, row := range rows {
		g := core.Grant{Intent: row.Intent, Enabled: !row.Off, Topics: list(row.Topics), Personas: list(row.Personas)}
		if g.Intent == "" {
			continue
		}
		wrong := func(what, text string, err error) error {
			return core.Refusef(core.Malformed, "%s of %s: %q: %v; nothing was changed", what, g.Intent, text, err)
		}
		if text := row.Rate; text != "" {
			rate, err := core.ParseRate(text)
			if err != nil {
				return nil, wrong("the rate", text, err)
			}
			g.RateLimit = &rate
		}
		if text := row.Bytes; text != "" {
			size, err := core.ParseByteLimit(text)
			if err != nil {
				return nil, wrong("the size", text, err)
			}
			g.ByteLimit = &size
		}
		var err error
		if g.ExpiresAt, err = core.ParseExpiry(row.Expires, now); err != nil {
			return nil, wrong("the end", row.Expires, err)
		}
		out = append(out, g)
	}
	return out, nil
}

func list(s string) (out []string) {
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }) {
		if word == "*" {
			return nil
		}
		out = append(out, word)
	}
	return out
}

// change is a line of the difference between two sets of grants.
type change struct{ Intent, Was, Is string }

// difference says what a change of grants changes, by intent.
func difference(was, is []core.Grant) (out []change) {
	byIntent := func(list []core.Grant) map[string]string {
		m := map[string]string{}
		for _, g := range list {
			m[g.Intent] = strings.TrimSpace(strings.TrimPrefix(api.GrantLine(sized(g)), g.Intent))
		}
		return m
	}
	before, after := byIntent(was), byIntent(is)
	var intents []string
	for _, g := range append(slices.Clone(was), is...) {
		if !slices.Contains(intents, g.Intent) {
			intents = append(intents, g.Intent)
		}
	}
	for _, i := range intents {
		if before[i] != after[i] {
			out = append(out, change{i, before[i], after[i]})
		}
	}
	return out
}

func sized(g core.Grant) core.Grant {
	if g.ByteLimit == nil {
		g.ByteLimit = new(core.DefaultBytes)
	}
	return g
}

// grantsPage shows what a change of grants changes, before it is saved.
type grantsPage struct {
	Peer    api.PeerView
	Changes []change
	Rows    []grantRow
	State   string // of the grants that it was compared with
}

// grants shows the difference that a form of grants makes, and saves it when it is sent
// again from there.
func (s *Server) grants(w http.ResponseWriter, r *http.Request) error {
	p, err := api.Peer.Call(r.Context(), s.o.Caller, api.PeerRef{Peer: r.PathValue("peer")})
	if err != nil {
		return err
	}
	wanted, err := readGrants(r, s.o.Now())
	if err != nil {
		return err
	}
	if len(wanted) == 0 {
		return core.Refuse(core.Malformed, "nothing would be granted any more; nothing was changed").WithHint("pause the peer, or end the federation with it")
	}
	was := p.Grants()
	if r.PostFormValue("save") != "yes" {
		page := grantsPage{Peer: p, Changes: difference(was, wanted), Rows: rowsOf(wanted), State: stateOf(was)}
		page.Rows = page.Rows[:len(wanted)]
		return s.render(w, r, "grants", "Change grants", page)
	}
	if r.PostFormValue("state") != stateOf(was) {
		return core.Refuse(core.Moved, "its grants were changed meanwhile; nothing was saved")
	}
	o, err := api.Grant.Call(r.Context(), s.o.Caller, api.ApproveParams{Peer: p.Fingerprint, Grants: wanted})
	if err != nil {
		return err
	}
	return back(w, r, "/peers/"+p.Fingerprint, "Changed the grants of "+o.Peer.Handle()+". "+told(o, "grants"))
}

// stateOf names a set of grants, so that a later look can tell whether it is the same.
func stateOf(grants []core.Grant) string {
	sum := sha256.New()
	for _, g := range grants {
		fmt.Fprintln(sum, api.GrantLine(sized(g)))
	}
	return hex.EncodeToString(sum.Sum(nil))
}
