# What one types most. Everything here is a line or two of what the documents say.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null | sed 's/^v//' | grep . || echo 0.0.0-dev)
DIST ?= dist
export CGO_ENABLED = 0

.PHONY: all build test release demo docs picture clean

all: build

# The program, here.
build:
	go build -trimpath -o ogp ./cmd/ogp

# Every test. ".ci/run" is all that a change must pass.
test:
	go test ./...

# The programs for every platform, with their checksums, into dist/. The same source gives
# the same bytes: .ci/reproducible shows it.
release:
	.ci/release "$(VERSION)" "$(DIST)"

# Two gateways and a rendezvous meet, and nothing is left behind.
demo:
	go run ./cmd/ogp demo

# What is generated of the documents, from the program: each by a go:generate line.
docs:
	go generate ./cmd/ogp

# The picture of the console in the README, by a Chromium.
picture:
	OGP_PICTURE=$(CURDIR)/docs/console.png go test -count=1 ./core/console -run 'TestPicture$$'

clean:
	rm -rf dist ogp
