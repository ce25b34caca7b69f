#!/bin/sh
# Builds the guests of the plugin host's tests. Needs clang, lld, wasi-libc and libclang-rt-*-dev-wasm32
# (Debian's names) and Go. The tests themselves need none of them.
set -eu
cd "$(dirname "$0")"
bare="--target=wasm32 -O2 -nostdlib -Wl,--no-entry -Wl,--strip-all"
clang $bare -o policy.wasm policy.c
clang $bare -Wl,--export=ogp_policy -o operate.wasm operate.c
clang --target=wasm32-wasi -O2 -Wl,--strip-all -o program.wasm program.c
GOOS=wasip1 GOARCH=wasm go build -trimpath -buildvcs=false -buildmode=c-shared -ldflags="-s -w" -o goguest.wasm ./goguest
chmod 644 ./*.wasm
