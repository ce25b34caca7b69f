package console_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// TestAnOperatorsDay uses the console as operators do who have no mouse, hear the page, leave it
// open too long, press twice, go back, or come through a tunnel.
func TestAnOperatorsDay(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	w := browse(t)
	ada, ben := start(t, "ada"), start(t, "ben")
	ben.asks(ada)
	w.tunnel(ada)
	w.byKeyboard(ada, ben)
	call(ada, api.Pause, api.PauseParams{Peer: "ben"})
	for n := range 4 {
		ben.says(fmt.Sprint("held ", n))
	}
	for _, path := range looks {
		w.heard(strings.ReplaceAll(path, "%s", "ben"))
	}
	w.pressedTwice(ada)
	w.leftOpen(ada, ben)
	w.manyAtOnce(ada, ben)
}

// tunnel enters through another port, as "ssh -L" makes one.
func (w *window) tunnel(g *gateway) {
	w.t.Helper()
	v := call(g, api.Console, api.ConsoleParams{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	var wg sync.WaitGroup
	w.t.Cleanup(func() { ln.Close() })
	wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", v.Address)
			if err != nil {
				in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); out.Close() }()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	})
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	w.base = "http://" + v.Host + ":" + port
	w.at("/open#" + v.Code)
	w.until("the code is filled in", `document.querySelector("#code").value.length > 20 && location.hash === ""`)
}

// key presses keys, one after the other.
func (w *window) key(keys ...string) {
	w.t.Helper()
	for _, k := range keys {
		w.do(fmt.Sprintf("press %q", k), chromedp.KeyEvent(k))
	}
}

// tabTo presses the tabulator until an element has the focus, which can be seen.
func (w *window) tabTo(selector string) {
	w.t.Helper()
	w.until("the page is there", `document.readyState === "complete"`)
	for range 120 {
		w.key(kb.Tab)
		if !eval[bool](w, `(() => { const e = document.activeElement, b = e.getBoundingClientRect(); return e === document.body || getComputedStyle(e).outlineStyle !== "none" && b.width > 0 && b.bottom > 0 && b.top < innerHeight })()`) {
			w.t.Errorf("%s: nobody sees that it has the focus", eval[string](w, "document.activeElement.outerHTML"))
		}
		if eval[bool](w, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			return
		}
	}
	w.t.Fatalf("the tabulator does not lead to %s", selector)
}

// byKeyboard comes in and approves a stranger without a mouse.
func (w *window) byKeyboard(ada, ben *gateway) {
	w.t.Helper()
	w.key(kb.Enter) // the button has the focus
	w.until("the first page", `location.pathname === "/"`)
	w.key(kb.Tab)
	w.until("the way past the menu", `document.activeElement.matches("a.skip")`)
	w.key(kb.Enter)
	w.tabTo(`a.button[href^="/requests/"]`)
	w.key(kb.Enter)
	w.until("the request", `location.pathname.startsWith("/requests/")`)
	w.tabTo(`input[name="alias"]`)
	w.key("b", "e", "n")
	w.tabTo(`input[name="compared"]`)
	for _, c := range ben.key[len(ben.key)-4:] {
		w.key(string(c))
	}
	w.key(kb.Enter)
	w.shows("Approved ben.")
	if title := eval[string](w, "document.title"); !strings.HasPrefix(title, "Approved ben.") {
		w.t.Errorf("a reader hears first: %s", title)
	}
	if p := call(ada, api.Peer, api.PeerRef{Peer: "ben"}); p.State != core.Approved {
		w.t.Errorf("ben is %s", p.State)
	}
}

// heard reads a page as a screen reader meets it: all that acts has a name, and what has the same
// name is told apart by its description, or leads to the same place.
func (w *window) heard(path string) {
	w.t.Helper()
	w.at(path)
	tree, err := chromedp.Call(w.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		w.t.Fatal(err)
	}
	text := func(v *accessibility.Value) (s string) {
		if v != nil {
			_ = json.Unmarshal([]byte(v.Value), &s)
		}
		return s
	}
	count, buttons := map[string]int{}, map[string]int{}
	for _, n := range tree.Nodes {
		if n.Ignored {
			continue
		}
		role, name := text(n.Role), strings.TrimSpace(text(n.Name))
		switch count[role]++; role {
		case "button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "image", "img", "navigation", "DisclosureTriangle":
			if name == "" {
				w.t.Errorf("%s: a %s without a name: %+v", path, role, n)
			}
		}
		if role == "button" {
			buttons[name+" / "+text(n.Description)]++
		}
	}
	if count["main"] != 1 || count["heading"] == 0 || count["RootWebArea"] != 1 || count["navigation"] == 0 {
		w.t.Errorf("%s: its parts: %v", path, count)
	}
	for b, n := range buttons {
		if n > 1 {
			w.t.Errorf("%s: %d buttons are %q", path, n, b)
		}
	}
	if n := eval[int64](w, `document.querySelectorAll("h1").length`); n != 1 {
		w.t.Errorf("%s: %d headings of the page", path, n)
	}
}

// pressedTwice presses a button twice, and goes back.
func (w *window) pressedTwice(ada *gateway) {
	w.t.Helper()
	w.at("/")
	w.do("press twice", chromedp.DoubleClick(`//li[contains(., "held 0")]//button[contains(., "Release")]`))
	w.shows("Released the message from ben.")
	w.do("back", chromedp.NavigateBack())
	w.until("the page before is as it is now", `document.body.innerText.includes("held 1") && !document.body.innerText.includes("held 0")`)
	if n := len(call(ada, api.Inbox, api.InboxParams{Peer: "ben", Status: core.InboxHeld})); n != 3 {
		w.t.Errorf("%d are held", n)
	}
}

// leftOpen writes while the session ends: once sent, once noticed before.
func (w *window) leftOpen(ada, ben *gateway) {
	w.t.Helper()
	out := func() {
		if _, err := chromedp.Call(w.ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
			w.t.Fatal(err)
		}
	}
	came := call(ada, api.Inbox, api.InboxParams{Peer: "ben", Status: core.InboxNew})[0]
	w.at("/message/" + came.ID)
	w.do("write", chromedp.SendKeys("#text", "typed for an hour"))
	out()
	w.press("/message/" + came.ID + "/reply")
	w.shows("What you have written is kept here")
	w.fill("#code", call(ada, api.Console, api.ConsoleParams{}).Code)
	w.press("/open")
	w.until("the form is there again", `location.pathname === "/unsent" && document.querySelector("textarea").value === "typed for an hour"`)
	w.press("/message/" + came.ID + "/reply")
	w.until("it is answered", fmt.Sprintf("location.pathname === %q", "/message/"+came.ID))
	w.shows("typed for an hour")

	w.at("/policies/machine")
	w.do("write", chromedp.SendKeys("#rules", "[[rules]] # a long one"))
	out()
	ben.says("something happens")
	w.shows("What you have written stays here")
	eval[any](w, fmt.Sprintf(`fetch("/open", {method: "POST", body: new URLSearchParams({code: %q})}).then(() => 0)`, call(ada, api.Console, api.ConsoleParams{}).Code)) // another tab of this browser
	w.until("the page goes on", `document.querySelector("[data-say=over]").hidden && document.querySelector("#rules").value.endsWith("a long one")`)
	w.press("/policies/machine")
	w.until("the form counts", `!!document.querySelector(".notice.bad") || location.pathname !== "/policies/machine"`)
	if text := eval[string](w, "document.body.innerText"); strings.Contains(text, "from another session") {
		w.t.Errorf("the form of the old session: %s", text)
	}
}

// saysLittle notes what the page has said to a reader who hears it, in told, and holds that it
// says nothing by itself of what comes into its list.
func (w *window) saysLittle() {
	w.t.Helper()
	if eval[bool](w, `[...document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log]")].some((e) => e.contains(document.querySelector(".events")) || document.querySelector("#live").contains(e))`) {
		w.t.Error("each line of the list is read aloud as it comes")
	}
	eval[any](w, `window.told = []; new MutationObserver(() => told.push({at: performance.now(), text: document.querySelector("main [role=status]").textContent})).observe(document.querySelector("main [role=status]"), {childList: true}); 0`)
}

// manyAtOnce has a peer say much while the page is looked at, hidden, and shown again.
func (w *window) manyAtOnce(ada, ben *gateway) {
	w.t.Helper()
	call(ada, api.Resume, api.ResumeParams{Peer: "ben"})
	w.at("/live")
	w.shows("Pause this page")
	w.saysLittle()
	eval[any](w, `window.looked = 0; const f = window.fetch; window.fetch = (u, o) => { looked++; return f(u, o); }; 0`)
	const many = 60
	for n := range many {
		ben.says(fmt.Sprintf("one of many, %02d", n))
	}
	w.shows(fmt.Sprintf("one of many, %02d", many-1))
	if n := eval[int64](w, "looked"); n > many/2 {
		w.t.Errorf("%d messages have the page look %d times", many, n)
	}
	w.until("all that came is told of", fmt.Sprintf(`told.map((x) => parseInt(x.text)).reduce((a, b) => a + b, 0) >= %d`, many))
	if told := eval[string](w, `told.map((x) => x.text).join()`); !strings.HasSuffix(told, " more events") && !strings.HasSuffix(told, "1 more event") {
		w.t.Errorf("they are told of with %q", told)
	}
	if eval[bool](w, `told.some((x, i) => i > 0 && x.at - told[i - 1].at < 3000)`) {
		w.t.Error("the page talks without a pause")
	}
	hide := func(is bool) {
		eval[any](w, fmt.Sprintf(`Object.defineProperty(document, "hidden", {value: %v, configurable: true}); document.dispatchEvent(new Event("visibilitychange")); looked = 0`, is))
	}
	hide(true)
	ben.says("behind another tab")
	hide(false)
	w.shows("behind another tab")
	w.do("pause this page", chromedp.Click(`//a[contains(., "Pause this page")]`))
	w.shows("Back to what happens now")
	ben.says("after that")
	w.at("/messages")
	w.shows("after that")
	w.do("back", chromedp.NavigateBack())
	w.shows("Back to what happens now")
	if eval[bool](w, `document.body.innerText.includes("after that")`) {
		w.t.Error("it is not held still")
	}
}
