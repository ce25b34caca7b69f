package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
)

// version is the program's version; a release sets it at link time.
var version = ""

// protocolVersion is the field's version whose behaviour we speak.
const protocolVersion = "0.7.2"

// programVersion is the linked version, else what the build knows of itself.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			return strings.TrimPrefix(v, "v")
		}
	}
	return "0.0.0-dev"
}

func versionCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Long: "Print the version of this program, of the protocol it speaks, and of Go.\n\n  ogp version",
		RunE: func(*cobra.Command, []string) error {
			if a.JSON {
				a.WriteJSON(map[string]string{"version": a.Version, "protocol": protocolVersion, "go": runtime.Version(),
					"os": runtime.GOOS, "arch": runtime.GOARCH})
				return nil
			}
			fmt.Fprint(a.Out, versionLine())
			return nil
		},
	}
}

// versionLine is the version for people, as --version prints it, too.
func versionLine() string {
	return fmt.Sprintf("ogp %s (protocol %s, %s, %s/%s)\n", programVersion(), protocolVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
