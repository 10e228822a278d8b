import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

/** A server of MongoDB's protocol. Argument: port. */
public final class Mongo {
    public static void main(String[] arguments) {
        new MongoServer(new MemoryBackend()).bind("0.0.0.0", Integer.parseInt(arguments[0]));
    }
}
