package otlake;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;

/**
 * Asks otlake over the Arrow Flight SQL JDBC driver and prints what came back, one `key=value` a
 * line, lists with commas.
 *
 * <p>Usage: Jdbc URL ask|token|refused
 */
public final class Jdbc {
  private static final String PREPARED =
      "SELECT count(*) FROM spans WHERE service_name = $1"
          + " AND attr_int(attributes, 'number') >= $2 AND duration_ns < $3 AND trace_id <> $4";

  public static void main(String[] arguments) throws SQLException {
    String url = arguments[0];
    if (arguments[1].equals("refused")) {
      print("refused", refusedConnection(url));
      return;
    }
    try (Connection connection = DriverManager.getConnection(url);
        Statement statement = connection.createStatement()) {
      if (arguments[1].equals("ask")) {
        metadata(connection);
        prepared(connection);
        big(statement);
        errors(connection);
      }
      print("spans", first(statement, "SELECT count(*) FROM spans"));
    }
  }

  private static void print(String key, Object value) {
    System.out.println(key + "=" + value);
  }

  private static Object first(Statement statement, String sql) throws SQLException {
    try (ResultSet rows = statement.executeQuery(sql)) {
      rows.next();
      return rows.getObject(1);
    }
  }

  private static void metadata(Connection connection) throws SQLException {
    var metadata = connection.getMetaData();
    print("product", metadata.getDatabaseProductName());
    List<String> tables = new ArrayList<>();
    try (ResultSet rows = metadata.getTables(null, null, null, null)) {
      while (rows.next()) {
        tables.add(rows.getString("TABLE_SCHEM") + "." + rows.getString("TABLE_NAME"));
      }
    }
    print("tables", String.join(",", tables));
    List<String> columns = new ArrayList<>();
    try (ResultSet rows = metadata.getColumns(null, null, "spans", null)) {
      while (rows.next()) {
        columns.add(rows.getString("COLUMN_NAME") + ":" + rows.getInt("DATA_TYPE"));
      }
    }
    print("columns", String.join(",", columns));
  }

  private static void prepared(Connection connection) throws SQLException {
    List<String> answers = new ArrayList<>();
    try (PreparedStatement statement = connection.prepareStatement(PREPARED)) {
      print("parameters", statement.getParameterMetaData().getParameterCount());
      for (long number : new long[] {0, 50, 1000}) {
        statement.setString(1, "service-0");
        statement.setLong(2, number);
        statement.setLong(3, 1001);
        statement.setBytes(4, new byte[16]);
        try (ResultSet rows = statement.executeQuery()) {
          rows.next();
          answers.add(String.valueOf(rows.getLong(1)));
        }
      }
    }
    print("prepared", String.join(",", answers));
    try (PreparedStatement statement =
        connection.prepareStatement(
            "SELECT name, duration_ns, trace_id, start_time, parent_span_id FROM spans"
                + " WHERE name = $1 ORDER BY start_time_unix_nano LIMIT 1")) {
      statement.setString(1, "request 0");
      try (ResultSet rows = statement.executeQuery()) {
        rows.next();
        print(
            "row",
            String.join(
                ",",
                rows.getString(1),
                String.valueOf(rows.getLong(2)),
                HexFormat.of().formatHex(rows.getBytes(3)),
                String.valueOf(rows.getTimestamp(4).toInstant()),
                String.valueOf(rows.getObject(5))));
      }
    }
  }

  private static void big(Statement statement) throws SQLException {
    long count = 0;
    long duration = 0;
    var ids = new HashSet<String>();
    try (ResultSet rows = statement.executeQuery("SELECT * FROM spans")) {
      while (rows.next()) {
        count++;
        duration += rows.getLong("duration_ns");
        ids.add(HexFormat.of().formatHex(rows.getBytes("span_id")));
      }
    }
    print("big", count + "," + duration + "," + ids.size());
  }

  private static void errors(Connection connection) {
    print("syntax", refused(connection, "SELEC 1"));
    print("table", refused(connection, "SELECT * FROM nothing"));
    print("write", refused(connection, "DELETE FROM spans"));
    print("runtime", refused(connection, "SELECT CAST(name AS BIGINT) FROM spans"));
  }

  /** What the driver says of a statement that cannot work, on one line. */
  private static String refused(Connection connection, String sql) {
    try (Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery(sql)) {
      while (rows.next()) {
        rows.getObject(1);
      }
      return "answered";
    } catch (SQLException | RuntimeException error) {
      return words(error);
    }
  }

  private static String refusedConnection(String url) {
    try (Connection connection = DriverManager.getConnection(url)) {
      return refused(connection, "SELECT 1");
    } catch (SQLException error) {
      return words(error);
    }
  }

  private static String words(Throwable error) {
    var words = new StringBuilder();
    for (Throwable at = error; at != null; at = at.getCause()) {
      words.append(at).append(' ');
    }
    return words.toString().replaceAll("\\s+", " ");
  }
}
