import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.util.Iterator;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.ColumnFamilyDescriptor;
import org.apache.hadoop.hbase.client.ColumnFamilyDescriptorBuilder;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.client.TableDescriptor;
import org.apache.hadoop.hbase.client.TableDescriptorBuilder;
import org.apache.hadoop.hbase.util.Bytes;

/**
 * Tables of a JSON file (hbase_schema.tables.ddl): "apply FILE" creates those that are missing, "check FILE" only looks.
 * Each finding is a line "FAULT ..." on stdout; existing tables are never changed. Exit 0 = looked at all of them.
 */
public class Ddl {
  public static void main(String[] args) throws Exception {
    boolean apply = args[0].equals("apply");
    JsonNode root = new ObjectMapper().readTree(new File(args[1]));
    try (Connection connection = ConnectionFactory.createConnection(bounded()); Admin admin = connection.getAdmin()) {
      for (JsonNode table : root.get("tables")) {
        TableName name = TableName.valueOf(table.get("name").asText());
        if (admin.tableExists(name)) compare(admin, name, table);
        else if (apply) create(admin, name, table);
        else System.out.println("FAULT " + name + " is missing");
      }
    }
    System.exit(0);
  }

  /** A cluster that is gone must give an error within a minute, not after HBase's own 15 retries. */
  static Configuration bounded() {
    Configuration configuration = HBaseConfiguration.create();
    configuration.setInt("hbase.client.retries.number", 5);
    configuration.setInt("hbase.client.operation.timeout", 30000);
    configuration.setInt("hbase.client.meta.operation.timeout", 30000);
    configuration.setInt("hbase.rpc.timeout", 20000);
    configuration.setInt("zookeeper.recovery.retry", 1);
    configuration.setInt("zookeeper.session.timeout", 10000);
    return configuration;
  }

  static void create(Admin admin, TableName name, JsonNode table) throws Exception {
    admin.createTable(describe(name, table), splits(table));
    System.out.println("CREATED " + name);
  }

  static void compare(Admin admin, TableName name, JsonNode table) throws Exception {
    TableDescriptor there = admin.getDescriptor(name);
    for (ColumnFamilyDescriptor wanted : describe(name, table).getColumnFamilies()) {
      ColumnFamilyDescriptor family = there.getColumnFamily(wanted.getName());
      if (family == null) {
        System.out.println("FAULT " + name + " lacks family " + wanted.getNameAsString());
        continue;
      }
      for (Iterator<String> keys = table.get("families").get(wanted.getNameAsString()).fieldNames(); keys.hasNext();) {
        String key = keys.next();
        String is = Bytes.toString(family.getValue(Bytes.toBytes(key)));
        String want = Bytes.toString(wanted.getValue(Bytes.toBytes(key)));
        if (!want.equals(is)) System.out.println("FAULT " + name + " " + key + " is " + is + ", wanted " + want);
      }
    }
    int least = table.get("splits").get("prefix_byte").asInt();
    int regions = admin.getRegions(name).size();
    if (regions < least) System.out.println("FAULT " + name + " has " + regions + " regions, wanted at least " + least);
    if (!admin.isTableEnabled(name)) System.out.println("FAULT " + name + " is disabled");
  }

  /** Any family attribute under its shell name (COMPRESSION, DATA_BLOCK_ENCODING, VERSIONS, BLOOMFILTER ...). */
  static TableDescriptor describe(TableName name, JsonNode table) {
    TableDescriptorBuilder builder = TableDescriptorBuilder.newBuilder(name);
    for (Iterator<Map.Entry<String, JsonNode>> families = table.get("families").fields(); families.hasNext();) {
      Map.Entry<String, JsonNode> entry = families.next();
      ColumnFamilyDescriptorBuilder family = ColumnFamilyDescriptorBuilder.newBuilder(Bytes.toBytes(entry.getKey()));
      for (Iterator<Map.Entry<String, JsonNode>> values = entry.getValue().fields(); values.hasNext();) {
        Map.Entry<String, JsonNode> value = values.next();
        family.setValue(value.getKey(), value.getValue().asText());
      }
      builder.setColumnFamily(family.build());
    }
    return builder.build();
  }

  /** "splits": {"prefix_byte": 16} = region boundaries 0x01 .. 0x0f. */
  static byte[][] splits(JsonNode table) {
    int salts = table.get("splits").get("prefix_byte").asInt();
    byte[][] keys = new byte[salts - 1][];
    for (int salt = 1; salt < salts; salt++) keys[salt - 1] = new byte[] {(byte) salt};
    return keys;
  }
}
