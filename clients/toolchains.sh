#!/usr/bin/env bash
# Puts the toolchains of the clients in place: Go, a JDK with Maven, Python with venv. What Debian
# has is installed where this runs as root; otherwise, one line names what is missing and its fix.
set -euo pipefail
export PATH="$PATH:/usr/local/go/bin"

GO_MINOR=26
JAVA=17

has_go() { command -v go >/dev/null && [ "$(go env GOVERSION | sed -E 's/^go1\.([0-9]+).*/\1/')" -ge "$GO_MINOR" ]; }
has_java() { command -v javac >/dev/null && command -v mvn >/dev/null && [ "$(javac -version 2>&1 | sed -E 's/^javac ([0-9]+).*/\1/')" -ge "$JAVA" ]; }
has_python() { python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

packages=()
has_java || packages+=("openjdk-$JAVA-jdk-headless" maven)
has_python || packages+=(python3 python3-venv)
if [ ${#packages[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
fi

missing=0
has_go || { echo "go: the clients need Go 1.$GO_MINOR or later (https://go.dev/dl) on the PATH or in /usr/local/go" >&2; missing=1; }
has_java || { echo "java: the clients need a JDK $JAVA or later and Maven (apt-get install openjdk-$JAVA-jdk-headless maven)" >&2; missing=1; }
has_python || { echo "python3: the clients need Python 3.11 or later with venv (apt-get install python3 python3-venv)" >&2; missing=1; }
exit "$missing"
