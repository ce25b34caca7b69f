#!/bin/sh
# Builds every committed module of plugins/ and examples/plugins/.
#
#   plugins/build.sh                 rebuild them in place
#   plugins/build.sh <dir>           build them into <dir>, leave the tree alone
#   plugins/build.sh --check         build into a temporary folder and compare with the committed bytes
#   LANGS="go c" plugins/build.sh    only those of some languages: go rust assemblyscript c rego
#
# The bytes depend on the compilers: Go of go.mod (with Extism's PDK from the Go proxy, of the version in the
# example's go.mod), and Debian 12's rustc 1.63, clang 14, lld 14 and
# wasi-libc (apt-get install clang lld rustc libstd-rust-dev-wasm32); AssemblyScript 0.28 (npm install
# assemblyscript@0.28.20; ASC names its asc); OPA 1.22.4 (go install github.com/open-policy-agent/opa@v1.22.4; OPA
# names it). RUSTC names the rustc that has the wasm target.
set -eu
cd "$(dirname "$0")/.."
RUSTC=${RUSTC:-/usr/bin/rustc}
CLANG=${CLANG:-clang}
ASC=${ASC:-asc}
OPA=${OPA:-opa}
LANGS=${LANGS:-go rust assemblyscript c rego}

check=
out=
case ${1:-} in
--check) check=1 out=$(mktemp -d) && trap 'rm -rf "$out"' EXIT ;;
'') ;;
*) out=$1 ;;
esac

wanted() { case " $LANGS " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# target <folder>: where its module goes, named like the folder.
target() {
	name=$(basename "$1").wasm
	if [ -n "$out" ]; then mkdir -p "$out/$1" && echo "$out/$1/$name"; else echo "$1/$name"; fi
}

failed=
done_with() { # folder file
	[ -n "$check" ] || { echo "$2 $(wc -c <"$2") bytes"; return; }
	if cmp -s "$2" "$1/$(basename "$2")"; then echo "ok $1"; else
		echo "differs: $1/$(basename "$2") is not what its source builds to" >&2
		failed=1
	fi
}

reactor() { # a Go plugin on the SDK
	wanted go || return 0
	to=$(target "$1")
	GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOFLAGS= GOWASM= go build -buildmode=c-shared -trimpath -buildvcs=false \
		-ldflags="-s -w -buildid=" -o "$to" "./$1"
	done_with "$1" "$to"
}

extism() { # a Go module of its own, on Extism's PDK
	wanted go || return 0
	to=$(target "$1")
	case $to in /*) ;; *) to=$PWD/$to ;; esac
	(cd "$1" && GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOFLAGS= GOWASM= GOWORK=off go build -buildmode=c-shared -trimpath -buildvcs=false \
		-ldflags="-s -w -buildid=" -o "$to" .)
	done_with "$1" "$to"
}

program() { # a Go program that speaks on stdin and stdout
	wanted go || return 0
	to=$(target "$1")
	GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOFLAGS= GOWASM= go build -trimpath -buildvcs=false \
		-ldflags="-s -w -buildid=" -o "$to" "./$1"
	done_with "$1" "$to"
}

rust() {
	wanted rust || return 0
	to=$(target "$1")
	lib=$(mktemp -d)
	# With memory.copy, which the gateway's engine does at once, and not byte by byte in the module.
	"$RUSTC" --edition 2021 --crate-name ogp --crate-type rlib --target wasm32-unknown-unknown -C opt-level=s -C panic=abort \
		-C codegen-units=1 -C target-feature=+bulk-memory --remap-path-prefix "$PWD=." --out-dir "$lib" sdk/rust/src/lib.rs
	"$RUSTC" --edition 2021 --crate-name plugin --crate-type cdylib --target wasm32-unknown-unknown -C opt-level=s -C panic=abort \
		-C codegen-units=1 -C lto -C strip=symbols -C target-feature=+bulk-memory --remap-path-prefix "$PWD=." --extern "ogp=$lib/libogp.rlib" -o "$to" "$1/src/lib.rs"
	rm -rf "$lib"
	done_with "$1" "$to"
}

assemblyscript() {
	wanted assemblyscript || return 0
	to=$(target "$1")
	"$ASC" "$1/assembly/index.ts" --outFile "$to" --optimizeLevel 3 --shrinkLevel 1 --converge --noAssert --use abort=
	done_with "$1" "$to"
}

c() {
	wanted c || return 0
	to=$(target "$1")
	# clang runs a wasm-opt that it finds on the PATH, and the bytes would depend on it.
	PATH=/usr/bin:/bin "$CLANG" --target=wasm32-unknown-unknown -Os -ffreestanding -nostdlib -fvisibility=hidden -mbulk-memory -Isdk/c -Wall -Wextra -Werror \
		-Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=65536 -o "$to" "$1/plugin.c"
	done_with "$1" "$to"
}

rego() { # folder, entry points
	wanted rego || return 0
	folder=$1 to=$(target "$1")
	shift
	for point; do set -- "$@" -e "$point" && shift; done
	bundle=$(mktemp)
	(cd "$folder" && "$OPA" build -t wasm -o "$bundle" "$@" policy.rego)
	tar -xzf "$bundle" -O /policy.wasm >"$to"
	rm -f "$bundle"
	done_with "$folder" "$to"
}

for folder in plugins/*/; do
	folder=${folder%/}
	if [ -e "$folder/main.go" ]; then reactor "$folder"; else rust "$folder"; fi
done
reactor examples/plugins/approve-by-domain
reactor examples/plugins/free-busy
program examples/plugins/audit-line
extism examples/plugins/extism-links
rust examples/plugins/office-hours
assemblyscript examples/plugins/secret-scrubber
c examples/plugins/topic-allowlist
rego examples/plugins/rego-house-rules ogp/message ogp/request/decision
[ -z "$failed" ]
# What was built in place is noted, so that a test finds a module older than its sources.
if [ -z "$out" ]; then go test -count=1 ./plugins -run TestModulesAreOfTheseSources -built "$LANGS" >/dev/null; fi
