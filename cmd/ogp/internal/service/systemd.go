package service

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opengatewayprotocol/ogp/core/control"
)

// systemdWord quotes a word of a command line in a unit (systemd.service(5)).
func systemdWord(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`).Replace(s) + `"`
}

// systemdPath quotes a path where no variables are filled in.
func systemdPath(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`).Replace(s) + `"`
}

// systemdUnit is our unit. What it takes away is what the gateway never needs.
func systemdUnit(s spec) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	words := []string{systemdWord(s.Program)}
	for _, arg := range s.args() {
		words = append(words, systemdWord(arg))
	}
	line("# Written by \"ogp service install\"; what you put into a drop-in (systemctl edit) stays.")
	line("[Unit]\nDescription=%s\nDocumentation=https://github.com/opengatewayprotocol/ogp", about)
	if s.System {
		line("Wants=network-online.target\nAfter=network-online.target")
	}
	line("StartLimitIntervalSec=300\nStartLimitBurst=10\n")
	line("[Service]\nType=notify\nNotifyAccess=main\nExecStart=%s\nExecReload=/bin/kill -HUP $MAINPID", strings.Join(words, " "))
	line("Restart=on-failure\nRestartSec=2\n# The gateway says that it lives as long as its store answers.\nWatchdogSec=60\nTimeoutStartSec=120\nUMask=0077\nLimitNOFILE=131072\n")
	switch {
	case s.System && s.RunAs == "":
		home := "yes"
		if strings.HasPrefix(s.Program, "/home/") {
			home = "read-only" // or it could not be run
		}
		line("DynamicUser=yes\nStateDirectory=ogp\nStateDirectoryMode=0700\nProtectHome=%s", home)
	case s.System:
		line("User=%s\nProtectHome=read-only\nReadWritePaths=%s", strings.ReplaceAll(s.RunAs, "%", "%%"), systemdPath(s.Home))
	default:
		line("ProtectHome=read-only\nReadWritePaths=%s", systemdPath(s.Home))
	}
	line("ProtectSystem=strict\nNoNewPrivileges=yes")
	if filepath.Dir(control.Path(s.Home)) == filepath.Clean(s.Home) {
		line("PrivateTmp=yes")
	} else {
		line("# The state directory's path is too long for a socket, which is in the system's /tmp.\nPrivateTmp=no\nReadWritePaths=%s", systemdPath(filepath.Dir(control.Path(s.Home))))
	}
	line("RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\nRestrictNamespaces=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\nLockPersonality=yes")
	line("SystemCallArchitectures=native\nSystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM")
	line("# MemoryDenyWriteExecute must stay off: plugins are compiled to machine code.\nMemoryDenyWriteExecute=no")
	if s.System {
		line("PrivateDevices=yes\nProtectClock=yes\nProtectControlGroups=yes\nProtectHostname=yes\nProtectKernelLogs=yes\nProtectKernelModules=yes\nProtectKernelTunables=yes\nProtectProc=invisible")
		capability := ""
		if s.LowPort {
			capability = "CAP_NET_BIND_SERVICE"
			line("AmbientCapabilities=%s", capability)
		}
		line("CapabilityBoundingSet=%s", capability)
	}
	line("\n[Install]\nWantedBy=%s", map[bool]string{true: "multi-user.target", false: "default.target"}[s.System])
	return b.String()
}
