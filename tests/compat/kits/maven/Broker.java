import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Kafka's broker and its controller in one process, with everything it writes in one folder. Arguments: folder, IP:PORT at which clients find it. */
public final class Broker {
    public static void main(String[] arguments) throws Exception {
        var folder = Path.of(arguments[0]);
        var config = folder.resolve("server.properties");
        Files.write(config, List.of(
            "process.roles=broker,controller",
            "node.id=1",
            "listeners=CLIENTS://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093",
            "advertised.listeners=CLIENTS://" + arguments[1] + ",CONTROLLER://127.0.0.1:9093",
            "listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name=CLIENTS",
            "controller.listener.names=CONTROLLER",
            "controller.quorum.bootstrap.servers=127.0.0.1:9093",
            "log.dirs=" + folder.resolve("logs"),
            "num.network.threads=2",
            "num.io.threads=2",
            "offsets.topic.num.partitions=1",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.num.partitions=1",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "share.coordinator.state.topic.num.partitions=1",
            "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1",
            "group.initial.rebalance.delay.ms=0",
            "group.consumer.min.heartbeat.interval.ms=100",
            "group.consumer.heartbeat.interval.ms=200",
            "auto.create.topics.enable=false"));
        var format = new String[] {"format", "--standalone", "--cluster-id", "4L6g3nShT-eMCtK--X86sw", "--config", config.toString()};
        if (kafka.tools.StorageTool.execute(format, System.err) != 0) {
            System.exit(1);
        }
        kafka.Kafka.main(new String[] {config.toString()});
    }
}
