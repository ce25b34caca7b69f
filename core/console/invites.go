package console

import (
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// invitesPage are our open invites, and the one that was just made.
type invitesPage struct {
	List   []api.InviteView
	Wrong  *api.ErrorView // why there is no list
	Made   *api.InviteView
	QR     template.HTML
	Life   string // of an invite that names none
	Grants []grantRow
}

func (s *Server) invites(w http.ResponseWriter, r *http.Request) error {
	return s.showInvites(w, r, nil)
}

// showInvites shows the list. The code of an invite is known when it is made, and not later.
func (s *Server) showInvites(w http.ResponseWriter, r *http.Request, made *api.InviteView) (err error) {
	p := invitesPage{Made: made, Life: core.FormatDuration(core.DefaultInviteLife)}
	if p.List, err = api.Invites.Call(r.Context(), s.o.Caller, api.None{}); err != nil {
		p.Wrong = new(api.ErrorOf(err))
	}
	if made != nil {
		p.QR = qrCode(made.Link)
	}
	defaults, err := api.DefaultGrants.Call(r.Context(), s.o.Caller, api.None{})
	if err != nil {
		return err
	}
	p.Grants = rowsOf(defaults)
	return s.render(w, r, "invites", "Invites", p)
}

func (s *Server) makeInvite(w http.ResponseWriter, r *http.Request) error {
	p := api.InviteParams{Approve: r.PostFormValue("approve") == "yes"}
	if text := strings.TrimSpace(r.PostFormValue("uses")); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return core.Refusef(core.Malformed, "uses: %q: want a number from 1 on, or nothing", text)
		}
		p.Uses = n
	}
	if text := strings.TrimSpace(r.PostFormValue("expires_in")); text != "" {
		d, err := core.ParseDuration(text)
		if err != nil || d < 10*time.Second {
			return core.Refusef(core.Malformed, "lives for: %q: want a duration such as 10m or 1d", text)
		}
		p.ExpiresMillis = d.Milliseconds()
	}
	if p.Approve {
		grants, err := readGrants(r, s.o.Now())
		if err != nil {
			return err
		}
		if len(grants) == 0 {
			return core.Refuse(core.Malformed, "nothing would be granted: leave at least one line, or approve by hand")
		}
		p.Grants = grants
	}
	v, err := api.Invite.Call(r.Context(), s.o.Caller, p)
	if err != nil {
		return err
	}
	return s.showInvites(w, r, &v)
}

func (s *Server) revokeInvite(w http.ResponseWriter, r *http.Request) error {
	code := r.PostFormValue("code")
	if _, err := api.RevokeInvite.Call(r.Context(), s.o.Caller, api.CodeParams{Code: code}); err != nil {
		return err
	}
	return back(w, r, "/invites", "Revoked "+code+".")
}

// qrCode draws a text; nothing where it is too long for one.
func qrCode(text string) template.HTML {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return ""
	}
	const edge = 4 // modules of quiet around it: ISO/IEC 18004
	var b strings.Builder
	size := code.Size + 2*edge
	fmt.Fprintf(&b, `<svg class="qr" role="img" aria-label="the link as a QR code" viewBox="0 0 %d %d" shape-rendering="crispEdges"><rect width="%d" height="%d" fill="#fff"/><path fill="#000" d="`, size, size, size, size)
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&b, "M%d %dh1v1h-1z", x+edge, y+edge)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String())
}
