// Package plugins holds the plugins that ship inside the binary. They are built from the
// folders beside this file by build.sh, which also checks that the committed modules are
// what their sources build to.
package plugins

import _ "embed"

// Shipped is a plugin that ships: its name, its module and its plugin.toml.
type Shipped struct {
	Name           string
	Wasm, Manifest []byte
}

var (
	//go:embed openclaw/openclaw.wasm
	openclawWasm []byte
	//go:embed openclaw/plugin.toml
	openclawManifest []byte
	//go:embed webhook/webhook.wasm
	webhookWasm []byte
	//go:embed webhook/plugin.toml
	webhookManifest []byte
	//go:embed a2a/a2a.wasm
	a2aWasm []byte
	//go:embed a2a/plugin.toml
	a2aManifest []byte
	//go:embed ntfy/ntfy.wasm
	ntfyWasm []byte
	//go:embed ntfy/plugin.toml
	ntfyManifest []byte
)

// shipped is the list. The modules are embedded as they are: 2 MB each that are only read
// from disk when used, where a compressed form would cost 10 ms at every start.
var shipped = []Shipped{
	{"openclaw", openclawWasm, openclawManifest},
	{"webhook", webhookWasm, webhookManifest},
	{"a2a", a2aWasm, a2aManifest},
	{"ntfy", ntfyWasm, ntfyManifest},
}

// All gives the shipped plugins, the default notifier first. The bytes are shared: do not
// change them.
func All() []Shipped { return append([]Shipped(nil), shipped...) }

// Names are the shipped plugins' names, in the order of All.
func Names() []string {
	names := make([]string, len(shipped))
	for i, s := range shipped {
		names[i] = s.Name
	}
	return names
}

// Get finds a shipped plugin by name.
func Get(name string) (Shipped, bool) {
	for _, s := range shipped {
		if s.Name == name {
			return s, true
		}
	}
	return Shipped{}, false
}
