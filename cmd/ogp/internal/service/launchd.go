package service

import (
	"strings"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
)

// launchdPlist is our agent or daemon of launchd, which has no journal: the log is
// in the state directory.
func launchdPlist(s spec) string {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + launchdLabel + `</string>
	<key>ProgramArguments</key>
	<array>
`)
	for _, word := range append([]string{s.Program}, s.args("--"+cli.ToFileFlag)...) {
		b.WriteString("\t\t<string>" + escape(word) + "</string>\n")
	}
	b.WriteString("\t</array>\n")
	if s.RunAs != "" {
		b.WriteString("\t<key>UserName</key>\n\t<string>" + escape(s.RunAs) + "</string>\n")
	}
	b.WriteString(`	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>ThrottleInterval</key>
	<integer>5</integer>
	<key>Umask</key>
	<integer>63</integer>
	<key>ProcessType</key>
	<string>Background</string>
</dict>
</plist>
`)
	return b.String()
}
