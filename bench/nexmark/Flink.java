import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.temporal.Temporal;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.TableDescriptor;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.types.RowKind;

/**
 * A Nexmark query on Apache Flink's local cluster, with one slot: {@code Flink QUERY EVENTS FOLDER [ROWS]}.
 *
 * <p>Rows go to Flink's blackhole, or to the file ROWS as JSON lines (inserts and the new state of updates). Checkpoints
 * every 10 seconds to FOLDER, incremental, state in RocksDB; queries 0, 1 and 2 have none. The queries are those of
 * github.com/nexmark/nexmark, with names as in the events, and double instead of decimal in query 1.
 */
final class Flink {
    private static final String COUNTS =
            "SELECT auction, COUNT(*) AS num, window_start, window_end"
                    + " FROM TABLE(HOP(TABLE bid, DESCRIPTOR(date_time), INTERVAL '2' SECOND, INTERVAL '10' SECOND))"
                    + " GROUP BY auction, window_start, window_end";

    private static final Map<String, String> QUERIES =
            Map.of(
                    "q0", "SELECT auction AS `bid.auction`, bidder AS `bid.bidder`, price AS `bid.price`, date_time,"
                            + " extra AS `bid.extra` FROM bid",
                    "q1", "SELECT auction AS `bid.auction`, bidder AS `bid.bidder`,"
                            + " CAST(0.908 AS DOUBLE) * price AS price_euro, date_time, extra AS `bid.extra` FROM bid",
                    "q2", "SELECT auction AS `bid.auction`, price AS `bid.price` FROM bid WHERE MOD(auction, 123) = 0",
                    "q3", "SELECT P.name, P.city, P.state, A.id AS auction FROM auction A JOIN person P ON A.seller = P.id"
                            + " WHERE A.category = 10 AND P.state IN ('OR', 'ID', 'CA')",
                    "q5", "SELECT B.window_start, B.window_end, B.auction, B.num AS bids FROM (" + COUNTS + ") B JOIN ("
                            + " SELECT MAX(num) AS maxn, window_start, window_end FROM (" + COUNTS + ")"
                            + " GROUP BY window_start, window_end) M"
                            + " ON B.window_start = M.window_start AND B.window_end = M.window_end AND B.num >= M.maxn",
                    "q7", "SELECT B.auction, B.price, B.bidder, B.date_time, B.extra FROM bid B JOIN ("
                            + " SELECT MAX(price) AS maxprice, window_time AS date_time"
                            + " FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))"
                            + " GROUP BY window_start, window_end, window_time) M ON B.price = M.maxprice"
                            + " WHERE B.date_time BETWEEN M.date_time - INTERVAL '10' SECOND AND M.date_time",
                    "q8", "SELECT P.id AS party, P.name, P.window_start FROM ("
                            + " SELECT id, name, window_start, window_end"
                            + " FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(date_time), INTERVAL '10' SECOND))"
                            + " GROUP BY id, name, window_start, window_end) P JOIN ("
                            + " SELECT seller, window_start, window_end"
                            + " FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(date_time), INTERVAL '10' SECOND))"
                            + " GROUP BY seller, window_start, window_end) A"
                            + " ON P.id = A.seller AND P.window_start = A.window_start AND P.window_end = A.window_end",
                    "q11", "SELECT bidder AS `bid.bidder`, COUNT(*) AS bids,"
                            + " SESSION_START(date_time, INTERVAL '10' SECOND) AS `start`,"
                            + " SESSION_END(date_time, INTERVAL '10' SECOND) AS `end`"
                            + " FROM bid GROUP BY bidder, SESSION(date_time, INTERVAL '10' SECOND)",
                    "q17", "SELECT auction, DATE_FORMAT(date_time, 'yyyy-MM-dd') AS `day`, COUNT(*) AS total_bids,"
                            + " COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,"
                            + " COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,"
                            + " COUNT(*) FILTER (WHERE price >= 1000000) AS rank3_bids, MIN(price) AS min_price,"
                            + " MAX(price) AS max_price, AVG(price) AS avg_price, SUM(price) AS sum_price"
                            + " FROM bid GROUP BY auction, DATE_FORMAT(date_time, 'yyyy-MM-dd')",
                    "q18", "SELECT auction AS `bid.auction`, bidder AS `bid.bidder`, price AS `bid.price`,"
                            + " channel AS `bid.channel`, date_time, extra AS `bid.extra` FROM ("
                            + " SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) AS n"
                            + " FROM bid) WHERE n <= 1");

    public static void main(String[] args) throws Exception {
        String query = args[0];
        Configuration settings = new Configuration();
        settings.setString("parallelism.default", "1");
        settings.setString("taskmanager.numberOfTaskSlots", "1");
        settings.setString("pipeline.object-reuse", "true");
        settings.setString("taskmanager.memory.managed.size", "1g");
        settings.setString("rest.port", "0");
        if (!query.matches("q[012]")) {
            settings.setString("state.backend.type", "rocksdb");
            settings.setString("execution.checkpointing.incremental", "true");
            settings.setString("execution.checkpointing.interval", "10s");
            settings.setString("execution.checkpointing.dir", Path.of(args[2]).toUri().toString());
        }
        TableEnvironment tables =
                TableEnvironment.create(
                        EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        tables.executeSql(
                "CREATE TABLE events (event_type INT, date_time TIMESTAMP(3),"
                        + " person ROW<id BIGINT, name STRING, city STRING, state STRING>,"
                        + " auction ROW<id BIGINT, seller BIGINT, category BIGINT>,"
                        + " bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, extra STRING>,"
                        + " WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND)"
                        + " WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = '"
                        + Path.of(args[1]).toUri() + "')");
        view(tables, "person", 0, "id", "name", "city", "state");
        view(tables, "auction", 1, "id", "seller", "category");
        view(tables, "bid", 2, "auction", "bidder", "price", "channel", "extra");
        var table = tables.sqlQuery(QUERIES.get(query));
        if (args.length == 3) {
            var schema = table.getResolvedSchema();
            var columns = Schema.newBuilder();
            for (var column : schema.getColumns()) {
                var type = column.getDataType().getLogicalType();
                // A time attribute is an ordinary time to a sink.
                columns.column(column.getName(),
                        type.getTypeRoot().name().startsWith("TIMESTAMP") ? "TIMESTAMP(3)" : type.asSerializableString());
            }
            table.insertInto(TableDescriptor.forConnector("blackhole").schema(columns.build()).build()).execute().await();
            return;
        }
        var names = table.getResolvedSchema().getColumnNames();
        try (var rows = table.execute().collect();
                var out = new PrintWriter(Files.newBufferedWriter(Path.of(args[3])))) {
            while (rows.hasNext()) {
                Row row = rows.next();
                if (row.getKind() != RowKind.INSERT && row.getKind() != RowKind.UPDATE_AFTER) {
                    continue;
                }
                for (int at = 0; at < names.size(); at++) {
                    Object value = row.getField(at);
                    boolean quoted = value instanceof String || value instanceof Temporal;
                    out.print((at == 0 ? "{\"" : ",\"") + names.get(at) + "\":" + (quoted ? "\"" + value + "\"" : value));
                }
                out.println("}");
            }
        }
    }

    private static void view(TableEnvironment tables, String name, int kind, String... fields) {
        var columns = new StringBuilder("date_time");
        for (String field : fields) {
            columns.append(", events.").append(name).append('.').append(field).append(" AS ").append(field);
        }
        tables.executeSql("CREATE VIEW " + name + " AS SELECT " + columns + " FROM events WHERE event_type = " + kind);
    }
}
