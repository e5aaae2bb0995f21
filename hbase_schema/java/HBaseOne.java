import java.io.File;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.LocalHBaseCluster;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.thrift.ThriftServer;
import org.apache.hadoop.hbase.zookeeper.MiniZooKeeperCluster;

/**
 * A whole HBase for one machine: ZooKeeper, master, region server and Thrift1 in one JVM.
 *
 * <p>Prints READY when a client could list tables. SIGTERM stops it cleanly. Exit code 2: the
 * ZooKeeper port is taken; 3: the Thrift server failed. Arguments go to the Thrift server.
 */
public class HBaseOne {
  private static final long STARTED = System.nanoTime();

  public static void main(String[] args) throws Exception {
    Configuration configuration = HBaseConfiguration.create();
    MiniZooKeeperCluster zookeeper = startZooKeeper(configuration);
    // The default of 30 s is less than one ZooKeeper session.
    configuration.setInt("hbase.master.start.timeout.localHBaseCluster", 300_000);
    LocalHBaseCluster cluster = new LocalHBaseCluster(configuration, 1, 1);
    cluster.startup();
    while (cluster.getActiveMaster() == null || !cluster.getActiveMaster().isInitialized()) {
      Thread.sleep(50);
    }
    say("master initialized");
    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(cluster, zookeeper)));
    startThrift(configuration, args);
    try (Connection connection = ConnectionFactory.createConnection(configuration);
        Admin admin = connection.getAdmin()) {
      admin.listTableNames();
    }
    say("READY");
    cluster.join();
  }

  private static MiniZooKeeperCluster startZooKeeper(Configuration configuration) throws Exception {
    MiniZooKeeperCluster zookeeper = new MiniZooKeeperCluster(configuration);
    int wanted = configuration.getInt("hbase.zookeeper.property.clientPort", 0);
    zookeeper.setDefaultClientPort(wanted);
    zookeeper.setTickTime(configuration.getInt("hbase.zookeeper.property.tickTime", 2000));
    int got = zookeeper.startup(new File(configuration.get("hbase.zookeeper.property.dataDir")));
    if (got != wanted) {
      System.err.println("ZooKeeper port " + wanted + " is taken");
      System.exit(2);
    }
    say("zookeeper started");
    return zookeeper;
  }

  private static void startThrift(Configuration configuration, String[] args) {
    Thread thread =
        new Thread(
            () -> {
              try {
                new ThriftServer(configuration).run(args);
              } catch (Throwable error) {
                error.printStackTrace();
                Runtime.getRuntime().halt(3);
              }
            },
            "thrift-main");
    thread.setDaemon(true);
    thread.start();
  }

  private static void stop(LocalHBaseCluster cluster, MiniZooKeeperCluster zookeeper) {
    try {
      cluster.shutdown();
      cluster.join();
      zookeeper.shutdown();
      say("STOPPED");
    } catch (Throwable error) {
      error.printStackTrace();
    }
  }

  private static void say(String what) {
    System.out.printf("%s after %.1f s%n", what, (System.nanoTime() - STARTED) / 1e9);
    System.out.flush();
  }
}
