import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes records of 100 bytes and, when asked, reads them committed from the output topic.
 *  `fill BROKERS INPUT RECORDS`; `count BROKERS OUTPUT` prints how many are committed; `latency BROKERS INPUT OUTPUT RATE SECONDS` prints ms of half and of 99 % of the records. */
public class Load {
    static final int BYTES = 100;
    static final int PARTITIONS = 4;

    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[1]);
        settings.put("acks", "all");
        settings.put("linger.ms", "2");
        settings.put("isolation.level", "read_committed");
        if (args[0].equals("count")) {
            System.out.println(count(settings, args[2]));
            return;
        }
        var bytes = new ByteArraySerializer();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings, bytes, bytes)) {
            if (args[0].equals("fill")) {
                long records = Long.parseLong(args[3]);
                for (long n = 0; n < records; n++) send(producer, args[2], n);
                producer.flush();
                return;
            }
            long rate = Long.parseLong(args[4]), records = rate * Long.parseLong(args[5]);
            long[] times = new long[(int) records];
            Thread reader = new Thread(() -> read(settings, args[3], times));
            reader.start();
            long start = System.nanoTime();
            for (long n = 0; n < records; n++) {
                long due = start + n * 1_000_000_000L / rate, wait = due - System.nanoTime();
                if (wait > 100_000) LockSupport.parkNanos(wait);
                send(producer, args[2], n);
            }
            producer.flush();
            reader.join();
            // The first fifth warms up.
            long[] kept = Arrays.copyOfRange(times, times.length / 5, times.length);
            Arrays.sort(kept);
            System.out.printf("%.1f %.1f%n", kept[kept.length / 2] / 1e6, kept[(int) (kept.length * 0.99)] / 1e6);
        }
    }

    static long count(Properties settings, String topic) {
        var bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            List<TopicPartition> partitions = partitions(topic);
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long seen = 0;
            var ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(one -> consumer.position(one) < ends.get(one)))
                seen += consumer.poll(Duration.ofMillis(20)).count();
            return seen;
        }
    }

    static List<TopicPartition> partitions(String topic) {
        return IntStream.range(0, PARTITIONS).mapToObj(n -> new TopicPartition(topic, n)).toList();
    }

    static void send(KafkaProducer<byte[], byte[]> producer, String topic, long n) {
        byte[] value = new byte[BYTES];
        // Printable, since one format reads lines of text.
        byte[] words = String.format("%020d %020d", n, System.nanoTime()).getBytes();
        Arrays.fill(value, (byte) 'x');
        System.arraycopy(words, 0, value, 0, words.length);
        producer.send(new ProducerRecord<>(topic, (int) (n % PARTITIONS), null, value));
    }

    static void read(Properties settings, String topic, long[] times) {
        var bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            List<TopicPartition> partitions = partitions(topic);
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            int seen = 0;
            while (seen < times.length) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(20))) {
                    String value = new String(record.value(), 0, 41);
                    if (seen < times.length) times[seen++] = System.nanoTime() - Long.parseLong(value.substring(21));
                }
            }
        }
    }
}
