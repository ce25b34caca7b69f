//go:build !wasip1

package sdk

import "embed"

// Source is this SDK in all languages, for "ogp plugin new", which copies it into a project.
//
//go:embed *.go policy/*.go notify/*.go handle/*.go wording/*.go sdktest/*.go ABI.md
//go:embed rust/Cargo.toml rust/src/*.rs assemblyscript/assembly/index.ts c/ogp.h
var Source embed.FS
