#!/bin/sh
# Installs the servers that tests and demos use, quietly and only what is missing: Kafka's jars, the S3 gateway,
# PostgreSQL, promtool. Owns the folder ${SEGNO_CACHE:-~/.cache/segno}/servers. Starts nothing: servers.py does.
#
#   scripts/servers/install.sh            Debian or Ubuntu: installs; elsewhere: says what is missing
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=${SEGNO_CACHE:-$HOME/.cache/segno}/servers
kafka_version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
s3_version=v1.8.0
mkdir -p "$home/bin"
home=$(cd "$home" && pwd)
work=$(mktemp -d "$home/work.XXXXXX")
# Go makes its module cache read-only.
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

say() { echo "servers: $*"; }
have() { command -v "$1" >/dev/null 2>&1; }

attempt() { # attempt NAME COMMAND…: runs it with its output in a log, which is shown on failure
    log=$home/$1.log
    shift
    "$@" >"$log" 2>&1 || {
        say "failed: $*"
        tail -n 10 "$log"
        say "all of it: $log"
        exit 1
    }
}

packages() { # packages NAME…: Debian's packages, when we may install them
    if [ "$(id -u)" = 0 ]; then as=; elif have sudo; then as=sudo; else as=none; fi
    if [ "$as" = none ] || ! have apt-get; then
        say "please install: $*"
        exit 1
    fi
    say "installing $*"
    attempt apt $as apt-get update -qq
    attempt apt $as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

java_major() { java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p'; }
go_minor() { go version 2>/dev/null | sed -n 's/.* go1\.\([0-9]*\).*/\1/p'; }
go_minor_of_debian() { apt-cache policy golang-go 2>/dev/null | sed -n 's/.*Candidate: .*1\.\([0-9]*\).*/\1/p'; }
postgres_there() { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || have initdb; }

# Kafka: Java runs it, Maven fetches it.
missing=
{ have java && [ "$(java_major)" -ge 17 ]; } || missing="$missing openjdk-17-jre-headless"
[ -d "$home/kafka-$kafka_version" ] || have mvn || missing="$missing maven"
# shellcheck disable=SC2086
[ -z "$missing" ] || packages $missing
if [ ! -d "$home/kafka-$kafka_version" ]; then
    say "fetching Kafka $kafka_version (54 MB, from Maven Central)"
    attempt kafka mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$work/kafka"
    mv "$work/kafka" "$home/kafka-$kafka_version"
fi
ln -sfn "kafka-$kafka_version" "$home/kafka"

# The S3 gateway is built once; the modules and objects of the build (750 MB) are not kept.
if [ ! -x "$home/versitygw-$s3_version/versitygw" ]; then
    # Since 1.21, Go fetches the version that a module wants.
    old=$(go_minor)
    if [ "${old:-0}" -lt 21 ]; then
        debian=$(go_minor_of_debian)
        [ "${debian:-0}" -lt 21 ] || packages golang-go
    fi
    old=$(go_minor)
    [ "${old:-0}" -ge 21 ] || {
        say "please install Go 1.21 or newer, from https://go.dev/dl or your distribution's backports"
        exit 1
    }
    say "building the S3 gateway versitygw $s3_version (some minutes, once)"
    attempt versitygw env GOPATH="$work/go" GOCACHE="$work/objects" GOBIN="$work/bin" \
        go install "github.com/versity/versitygw/cmd/versitygw@$s3_version"
    mv "$work/bin" "$home/versitygw-$s3_version"
fi
ln -sfn "../versitygw-$s3_version/versitygw" "$home/bin/versitygw"

# PostgreSQL: Debian's package makes a cluster of its own and starts it; the one that it made just now is removed.
if ! postgres_there; then
    before=$(ls -d /etc/postgresql/*/main 2>/dev/null || true)
    packages postgresql
    for cluster in /etc/postgresql/*/main; do
        [ -d "$cluster" ] || continue
        case "$before" in *"$cluster"*) continue ;; esac
        version=$(basename "$(dirname "$cluster")")
        attempt postgres ${as:-} pg_dropcluster --stop "$version" main
    done
fi

# promtool, without the service that its package would start: the program alone is taken from the package.
if ! have promtool && [ ! -x "$home/bin/promtool" ]; then
    if have apt-get && have dpkg-deb; then
        say "fetching promtool (from Debian's package prometheus)"
        (cd "$work" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb prometheus) \
            >"$home/promtool.log" 2>&1 ||
            say "no promtool: Debian's package prometheus cannot be fetched; see $home/promtool.log"
        [ ! -x "$work/prometheus/usr/bin/promtool" ] || mv "$work/prometheus/usr/bin/promtool" "$home/bin/promtool"
    else
        say "no promtool: install Prometheus to check its rules and metrics"
    fi
fi
