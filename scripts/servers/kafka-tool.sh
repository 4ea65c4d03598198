#!/bin/sh
# Calls one of Kafka's own command line tools, which come with the jars that install.sh fetched. Adds nothing to them.
#
#   scripts/servers/kafka-tool.sh TOOL --bootstrap-server ADDRESS…        TOOL: one of the names below, without `kafka-`
set -eu
jars=${SEGNO_CACHE:-$HOME/.cache/segno}/servers/kafka
tool=${1:-}
case $tool in
    acls) class=AclCommand ;;
    topics) class=TopicCommand ;;
    console-producer) class=ConsoleProducer ;;
    console-consumer) class=consumer.ConsoleConsumer ;;
    consumer-groups) class=consumer.group.ConsumerGroupCommand ;;
    transactions) class=TransactionsCommand ;;
    get-offsets) class=GetOffsetShell ;;
    delete-records) class=DeleteRecordsCommand ;;
    producer-perf-test) class=ProducerPerformance ;;
    metadata-quorum) class=MetadataQuorumCommand ;;
    *)
        echo "kafka-tool: no tool \`$tool\`; there are$(sed -n 's/^    \([a-z-]*\)) class=.*/ \1/p' "$0" | tr -d '\n')" >&2
        exit 2
        ;;
esac
[ -d "$jars" ] || {
    echo "kafka-tool: Kafka is not installed: run scripts/servers/install.sh" >&2
    exit 1
}
shift
exec java -Xmx256m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" \
    "org.apache.kafka.tools.$class" "$@"
