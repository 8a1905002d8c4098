#!/bin/bash
# Builds the static binaries and the packages of a version into dist/: build.sh VERSION [OUT]
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: build.sh VERSION [OUT]}
out=${2:-dist}
# The last version whose dependencies the module proxy has all of.
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2

mkdir -p "$out"
# Files in the packages are as old as the commit: what is built twice is the same.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

COMPLETIONS=$(mktemp -d)
export COMPLETIONS
trap 'rm -rf "$COMPLETIONS"' EXIT
go run . completion bash >"$COMPLETIONS/tuco.bash"
go run . completion zsh >"$COMPLETIONS/_tuco"
go run . completion fish >"$COMPLETIONS/tuco.fish"

for arch in amd64 arm64; do
	binary=$out/tuco-$version-linux-$arch
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$binary" .
	for packager in deb rpm; do
		ARCH=$arch VERSION=$version BINARY=$binary go run "$nfpm" package --config packaging/nfpm.yaml --packager "$packager" --target "$out/"
	done
done
(cd "$out" && sha256sum -- tuco* >SHA256SUMS)
ls -l "$out"
