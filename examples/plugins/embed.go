// Package examples gives the example that "ogp demo" shows: a policy in
// AssemblyScript that refuses messages with secrets in them.
package examples

import _ "embed"

// SecretScrubber is the built module of secret-scrubber, and SecretScrubberManifest
// its plugin.toml. Do not change them.
var (
	//go:embed secret-scrubber/secret-scrubber.wasm
	SecretScrubber []byte
	//go:embed secret-scrubber/plugin.toml
	SecretScrubberManifest []byte
)
