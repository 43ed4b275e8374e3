/**
 * The figures of the table: what each is, which way is better, and where it is to arrive.
 *
 * A target is a bound of the median (`most`, `least`) or of the ratio to what it stands beside
 * (`ratio`); a ratio above 1 always means better than that.
 */

const less = (id, label, unit, target = {}) => ({ id, label, unit, better: 'less', target })
const more = (id, label, unit, target = {}) => ({ id, label, unit, better: 'more', target })

export const FIGURES = [
  less('cpu_per_million', 'CPU-s per million spans, to committed and compacted', 's', {
    most: 1.8,
  }),
  more('decode_over_scan', 'decode beside a plain scan of the same bytes', 'M spans/s', {
    ratio: 0.8,
  }),
  more('decode_over_prost', 'decode beside prost', 'M spans/s'),
  more('core_spans_per_second', 'spans/s acknowledged and committed, one core', '/s'),
  more('machine_spans_per_second', 'durable spans/s, whole machine, beside the best peer', '/s', {
    ratio: 20,
  }),
  less('bytes_per_span', 'bytes per span after the job, beside the best peer', 'B', {
    most: 32,
    ratio: 1,
  }),
  less('ack_half_p50', 'acknowledgement p50 at half load', 'ms', { most: 3 }),
  less('ack_half_p99', 'acknowledgement p99 at half load', 'ms', { most: 10 }),
  less('unseen_at_strong', 'first strong queries after it that miss an acknowledged span', '', {
    most: 0,
  }),
  less('visible_p50', 'acknowledged to the answer that has it, p50, half load', 'ms'),
  less('visible_p99', 'acknowledged to the answer that has it, p99, half load', 'ms', {
    most: 20,
  }),
  less('queryable_sql_p95', 'send to queryable by SQL, p95, half load', 'ms', { most: 100 }),
  less('queryable_trace_p95', 'send to queryable by trace id, p95, half load', 'ms', {
    most: 100,
  }),
  less('trace_warm_p50', 'trace by id, no time range, p50 warm', 'ms', { most: 2 }),
  less('trace_warm_p99', 'trace by id, no time range, p99 warm', 'ms', { most: 10 }),
  less('trace_again_p50', 'the same traces again, p50', 'ms'),
  less('trace_cold_p99', 'trace by id, no time range, p99 cold', 'ms', { most: 50 }),
  less('group_by', 'group-by beside DuckDB on the same files', 'ms', { ratio: 1 }),
  more('trace_queries_per_second', 'trace by id over HTTP, warm', '/s', { least: 10_000 }),
  more('tempo_trace_per_second', 'trace by id over the Tempo API, asked for before', '/s', {
    least: 10_000,
  }),
  more('tempo_trace_first_per_second', 'trace by id over the Tempo API, the first time', '/s'),
  less('search_p50', 'search by service and duration, p50 warm', 'ms', { ratio: 1 }),
  less('peak_rss', 'peak RSS at full load', 'MB', { most: 600 }),
  less('event_loop_p99', 'event loop p99 delay at full load', 'ms', { most: 5 }),
  more('logs_per_cpu_second', 'log records per CPU-second, beside spans', '/s', { ratio: 1 }),
  more('points_per_cpu_second', 'data points per CPU-second, beside spans', '/s', { ratio: 1 }),
  less('growth_cost', 'growth: CPU per span, dearest level over first', '×', { most: 1.1 }),
  less('growth_trace', 'growth: trace by id p50, dearest number of files over fewest', '×', {
    most: 1.1,
  }),
  more('soak_rate', 'soak: spans/s, last third over first', '×', { least: 0.9 }),
  less('soak_rss', 'soak: RSS, last third over first', '×', { most: 1.1 }),
  less('soak_files', 'soak: files, last third over first', '×', { most: 1.1 }),
  less('soak_ack_p50', 'soak: acknowledgement p50, last third over first', '×', { most: 1.1 }),
  less('soak_ack_p99', 'soak: acknowledgement p99, last third over first', '×', { most: 1.1 }),
  less('soak_trace', 'soak: trace by id, last third over first', '×', { most: 1.1 }),
  less('soak_recent', 'soak: SQL over the last minute, last third over first', '×', {
    most: 1.1,
  }),
]
