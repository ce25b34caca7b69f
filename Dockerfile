# syntax=docker/dockerfile:1
# One image for the gateway and the rendezvous: the static binary, certificates, and
# nothing to log in to.
#
#   docker build -t ogp .
#   docker run -d --name ogp -v ogp:/var/lib/ogp -p 18790:18790 \
#     -e OGP_GATEWAY_URL=https://ogp.example.org ogp
#   docker exec ogp ogp status
#   docker run -d -p 3000:3000 ogp rendezvous --metrics-listen 127.0.0.1:9290
ARG GO_VERSION=1.26.8

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-alpine AS build
RUN apk add --no-cache ca-certificates
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=
# As .ci/release builds it, so that the bytes are those of the release.
RUN CGO_ENABLED=0 GOFLAGS=-mod=readonly GOAMD64=v1 GOARM64=v8.0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/usr/local/bin/ogp ./cmd/ogp
RUN mkdir -p /out/etc/ssl/certs /out/var/lib/ogp /out/tmp \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
 && mkdir -p /out/usr/share/doc/ogp && cp LICENSE cmd/ogp/internal/licenses/licenses.txt /out/usr/share/doc/ogp/ \
 && echo 'ogp:x:65532:65532::/var/lib/ogp:/' > /out/etc/passwd \
 && echo 'ogp:x:65532:' > /out/etc/group \
 && chmod 0700 /out/var/lib/ogp && chmod 1777 /out/tmp && chown 65532:65532 /out/var/lib/ogp

FROM scratch
COPY --from=build /out/ /
# For the health check alone: a static wget, and no shell to run it from.
COPY --from=busybox:1.37.0-musl /bin/wget /usr/local/bin/wget
USER 65532:65532
# The health check asks here, for both: it is no port to publish.
ENV HOME=/var/lib/ogp OGP_HOME=/var/lib/ogp OGP_LISTEN=0.0.0.0 OGP_METRICS_LISTEN=127.0.0.1:9290 \
    PATH=/usr/local/bin
VOLUME /var/lib/ogp
EXPOSE 18790 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:9290/healthz"]
ENTRYPOINT ["ogp"]
CMD ["start"]
