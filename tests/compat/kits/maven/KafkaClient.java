import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's own client. Argument: IP:PORT of the broker. Prints what an application sees. */
public final class KafkaClient {
    private static final List<String> TOPICS = List.of("groups", "large", "many", "moved", "none", "gzip", "snappy", "lz4", "zstd", "transactions");
    private static final int PARTITIONS = 4;
    private static final int MANY = 10_000;
    private static final int MEGABYTE = 1 << 20;
    private static final Duration PATIENCE = Duration.ofSeconds(120);

    private final String broker;

    private KafkaClient(String broker) {
        this.broker = broker;
    }

    public static void main(String[] arguments) throws Exception {
        var client = new KafkaClient(arguments[0]);
        client.topics();
        client.many();
        for (var codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            client.compressed(codec);
        }
        client.large();
        for (var protocol : List.of("classic", "consumer")) {
            client.group(protocol);
        }
        client.transactions();
        System.exit(0);
    }

    private void topics() throws Exception {
        System.out.println("-- topics");
        try (var admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            var large = Map.of("max.message.bytes", String.valueOf(2 * MEGABYTE));
            admin.createTopics(TOPICS.stream().map(name -> new NewTopic(name, PARTITIONS, (short) 1).configs(large)).toList()).all().get();
            // the controller has made them, and the broker hears of it a moment later: it may refuse a partition's first batch, take
            // the second, and then never take the first
            poll("the topics are known", () -> admin.listTopics().names().get().containsAll(TOPICS));
            var partitions = TOPICS.stream().flatMap(topic -> partitions(topic).stream());
            admin.listOffsets(partitions.collect(Collectors.toMap(partition -> partition, partition -> OffsetSpec.latest()))).all().get();
            System.out.println(new TreeSet<>(admin.listTopics().names().get()));
            System.out.println(admin.describeTopics(List.of("many")).allTopicNames().get().get("many").partitions().size());
            System.out.println(admin.describeCluster().nodes().get());
            try {
                admin.createTopics(List.of(new NewTopic("many", 1, (short) 1))).all().get();
            } catch (ExecutionException error) {
                System.out.println("refused: " + error.getCause().getClass().getSimpleName());
            }
        }
    }

    /** Each in the partition and at the offset that its key and its turn give it. */
    private void many() throws Exception {
        System.out.println("-- many");
        try (var producer = producer(Map.of("linger.ms", 5))) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int number = 0; number < MANY; number++) {
                sent.add(producer.send(record("many", number, "value " + number)));
            }
            var places = new StringBuilder();
            for (var future : sent) {
                places.append(future.get().partition()).append(':').append(future.get().offset()).append(' ');
            }
            System.out.println(sent.size() + " " + digest(places.toString().getBytes(StandardCharsets.UTF_8)));
        }
        System.out.println(read("many", MANY, Map.of()));
    }

    private void compressed(String codec) throws Exception {
        System.out.println("-- compressed: " + codec);
        try (var producer = producer(Map.of("compression.type", codec, "linger.ms", 20))) {
            for (int number = 0; number < 1000; number++) {
                producer.send(record(codec, number, ("text that repeats " + number + " ").repeat(50)));
            }
        }
        System.out.println(read(codec, 1000, Map.of()));
    }

    private void large() throws Exception {
        System.out.println("-- large");
        try (var producer = producer(Map.of("max.request.size", 4 * MEGABYTE, "batch.size", 0))) {
            for (int number = 0; number < 20; number++) {
                producer.send(record("large", number, String.valueOf(number % 10).repeat(MEGABYTE))).get();
            }
            try {
                producer.send(record("large", 0, "x".repeat(3 * MEGABYTE))).get();
            } catch (ExecutionException error) {
                System.out.println("refused: " + error.getCause().getClass().getSimpleName());
            }
        }
        System.out.println(read("large", 20, Map.of("max.partition.fetch.bytes", 8 * MEGABYTE)));
    }

    /** Two consumers share the partitions; one leaves, and the other gets all that comes afterwards. */
    private void group(String protocol) throws Exception {
        System.out.println("-- a group: " + protocol);
        var name = "group-" + protocol;
        var options = Map.<String, Object>of("group.id", name, "group.protocol", protocol);
        var read = new TreeSet<String>();
        try (var one = consumer(options)) {
            try (var other = consumer(options)) {
                one.subscribe(List.of("groups"));
                other.subscribe(List.of("groups"));
                poll("both have two partitions", () -> {
                    keep(read, one);
                    keep(read, other);
                    return one.assignment().size() == 2 && other.assignment().size() == 2;
                });
                fill("groups", name + "-first", 1000);
                poll("the first are read", () -> {
                    keep(read, one);
                    keep(read, other);
                    return read.stream().filter(text -> text.startsWith(name + "-first")).count() == 1000;
                });
                one.commitSync();
                other.commitSync();
            }
            fill("groups", name + "-second", 1000);
            poll("the second are read by one", () -> {
                keep(read, one);
                return read.stream().filter(text -> text.startsWith(name + "-second")).count() == 1000;
            });
            one.commitSync();
        }
        try (var admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            var offsets = admin.listConsumerGroupOffsets(name).partitionsToOffsetAndMetadata().get().values();
            System.out.println(read.size() + " read, committed " + offsets.stream().mapToLong(OffsetAndMetadata::offset).sum());
        }
    }

    /** What was aborted is not read; offsets are committed with what was made of them. */
    private void transactions() throws Exception {
        System.out.println("-- transactions");
        try (var producer = producer(Map.of("transactional.id", "teller"));
            var consumer = consumer(Map.of("group.id", "movers", "isolation.level", "read_committed"))) {
            producer.initTransactions();
            for (var turn : List.of("aborted", "committed", "aborted", "committed")) {
                producer.beginTransaction();
                for (int number = 0; number < 500; number++) {
                    producer.send(record("transactions", number, turn + " " + number));
                }
                producer.flush();
                if (turn.equals("committed")) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
            consumer.subscribe(List.of("transactions"));
            producer.beginTransaction();
            var moved = new HashMap<TopicPartition, OffsetAndMetadata>();
            int[] seen = {0};
            poll("what was committed is read", () -> {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    producer.send(new ProducerRecord<>("moved", record.key(), record.value()));
                    moved.put(new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1));
                    seen[0]++;
                }
                return seen[0] == 1000;
            });
            producer.sendOffsetsToTransaction(moved, consumer.groupMetadata());
            producer.commitTransaction();
        }
        System.out.println(read("moved", 1000, Map.of("isolation.level", "read_committed")));
    }

    private void fill(String topic, String text, int count) {
        try (var producer = producer(Map.of("linger.ms", 5))) {
            for (int number = 0; number < count; number++) {
                producer.send(record(topic, number, text + " " + number));
            }
        }
    }

    /** A topic from its beginning: how many, and what they are, in the order of partitions and offsets. */
    private String read(String topic, int count, Map<String, Object> options) throws Exception {
        try (var consumer = consumer(options)) {
            consumer.assign(partitions(topic));
            consumer.seekToBeginning(consumer.assignment());
            var records = new ArrayList<ConsumerRecord<byte[], byte[]>>();
            poll("all of " + topic + " is read", () -> {
                consumer.poll(Duration.ofMillis(100)).forEach(records::add);
                return records.size() >= count;
            });
            records.sort(java.util.Comparator.<ConsumerRecord<byte[], byte[]>>comparingInt(ConsumerRecord::partition).thenComparingLong(ConsumerRecord::offset));
            var hash = MessageDigest.getInstance("SHA-256");
            for (var record : records) {
                hash.update(record.key());
                hash.update(record.value());
                record.headers().forEach(header -> hash.update(header.value()));
            }
            return records.size() + " " + HexFormat.of().formatHex(hash.digest());
        }
    }

    private static List<TopicPartition> partitions(String topic) {
        return IntStream.range(0, PARTITIONS).mapToObj(number -> new TopicPartition(topic, number)).toList();
    }

    private static void keep(TreeSet<String> read, KafkaConsumer<byte[], byte[]> consumer) {
        for (var record : consumer.poll(Duration.ofMillis(20))) {
            read.add(new String(record.value(), StandardCharsets.UTF_8));
        }
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void poll(String what, Condition condition) throws Exception {
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (!condition.holds()) {
            if (System.nanoTime() > end) {
                throw new IllegalStateException("not within " + PATIENCE + ": " + what);
            }
        }
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, int number, String value) {
        var record = new ProducerRecord<>(topic, ("key " + number).getBytes(StandardCharsets.UTF_8), value.getBytes(StandardCharsets.UTF_8));
        record.headers().add("number", String.valueOf(number).getBytes(StandardCharsets.UTF_8));
        return record;
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, Object> options) {
        return new KafkaProducer<>(with(options), new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> options) {
        var all = with(options);
        all.putIfAbsent("auto.offset.reset", "earliest");
        all.putIfAbsent("enable.auto.commit", "false");
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Properties with(Map<String, Object> options) {
        var all = new Properties();
        all.put("bootstrap.servers", broker);
        all.putAll(options);
        return all;
    }

    private static String digest(byte[] bytes) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    }
}
