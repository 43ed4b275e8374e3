package otlake;

import java.sql.DriverManager;

/** Asks otlake over JDBC. */
public final class Query {
  public static void main(String[] arguments) throws Exception {
    // jdbc:arrow-flight-sql://127.0.0.1:4320?useEncryption=false, and &token=… where there are any
    try (var connection = DriverManager.getConnection(arguments[0]);
        var query =
            connection.prepareStatement("SELECT name FROM spans WHERE service_name = $1")) {
      query.setString(1, "hello-java");
      try (var rows = query.executeQuery()) {
        while (rows.next()) {
          System.out.println(rows.getString("name"));
        }
      }
    }
  }
}
