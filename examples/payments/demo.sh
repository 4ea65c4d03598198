#!/usr/bin/env bash
# The demo with servers: payments through Kafka, killed twice, a broker restarted on the way, then checked and replayed.
#
# `make demo-kafka` sets SEGNO_BIN and SEGNO_COMPONENTS, and runs this under scripts/servers/servers.py, which starts and
# ends the servers and sets SEGNO_TEST_….
set -euo pipefail
cd "$(dirname "$0")"
servers=../../scripts/servers
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export KAFKA=$SEGNO_TEST_KAFKA POSTGRES=$SEGNO_TEST_POSTGRES BUCKET=$SEGNO_TEST_S3_BUCKET WORK=$work/work
export AWS_ENDPOINT_URL=$SEGNO_TEST_S3 AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
payments=${PAYMENTS:-300000}

tool() { "$servers/kafka-tool.sh" "$@"; }
for topic in payments payments.counted payments.dead; do
    tool topics --bootstrap-server "$KAFKA" --create --topic $topic --partitions 4 --replication-factor 1 >/dev/null
done
echo "1. $payments payments into the topic payments, four partitions"
./payments.py make "$payments" "$work/payments.jsonl"
# The card is the key, so that all payments of a card are in one partition; what is no payment has none.
python3 - "$work/payments.jsonl" >"$work/keyed" <<'PY'
import json, sys
for line in open(sys.argv[1]):
    try:
        key = json.loads(line)["card"]
    except ValueError:
        key = "-"
    sys.stdout.write(key + "\t" + line)
PY
tool console-producer --bootstrap-server "$KAFKA" --topic payments --property parse.key=true <"$work/keyed" >/dev/null

end() { # the last committed epoch, as the running pipeline says
    "$SEGNO_BIN" status --quiet -o json pipeline.yaml 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["epoch"])' 2>/dev/null || echo 0
}
echo "2. Through the plugin, to Kafka and PostgreSQL; checkpoints in S3"
before=0
for kill in 1 2; do
    "$SEGNO_BIN" run --quiet pipeline.yaml >"$work/run-$kill.log" 2>&1 &
    process=$!
    while kill -0 $process 2>/dev/null && [ "$(end)" -lt $((before + 8)) ]; do sleep 0.05; done
    before=$(end)
    if [ $kill = 2 ]; then
        echo "   the broker is killed and started again"
        "$servers/servers.py" stop "$SEGNO_TEST_SERVERS" kafka:1 --kill
        "$servers/servers.py" start "$SEGNO_TEST_SERVERS" kafka:1
    fi
    if ! kill -9 $process 2>/dev/null; then
        echo "FAILED: the run ended before kill number $kill could interrupt it; it said:"
        cat "$work/run-$kill.log"
        exit 1
    fi
    wait $process 2>/dev/null || true
    echo "   kill -9 number $kill: after epoch $before"
done
echo "   and the machine's disk is lost as well: only S3 is left"
rm -rf "$WORK"
"$SEGNO_BIN" run --quiet -o json pipeline.yaml >"$work/summary.json"
python3 - "$work/summary.json" <<'PY'
import json, sys
totals = json.load(open(sys.argv[1]))["totals"]
if not totals["records"]:
    sys.exit("FAILED: nothing was left for the last run: the kills did not interrupt anything")
print(f"   the last run executed {totals['reexecuted']} epochs again, then read {totals['records']:,} more records")
PY

echo "3. The verdict of a checker that knows nothing of Segno:"
read_topic() {
    tool console-consumer --bootstrap-server "$KAFKA" --topic "$1" --from-beginning --isolation-level read_committed \
        --timeout-ms 8000 2>/dev/null || true
}
read_topic payments.counted >"$work/counted"
read_topic payments.dead >"$work/dead"
psql "$POSTGRES" -Atc 'select card, bids, total_price from cards' >"$work/table"
./payments.py check "$work/payments.jsonl" "$work/counted" "$work/dead" "$work/table"
echo "4. The whole history, executed again and compared digest by digest:"
"$SEGNO_BIN" replay --quiet pipeline.yaml --from start --verify
