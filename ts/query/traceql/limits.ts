/** How large a query may be (I5). They are told in docs/traceql.md. */

/** UTF-16 units of a query's text. */
export const MAX_QUERY_LENGTH = 64 * 1024
/** Parentheses, braces and prefixes within each other. */
export const MAX_QUERY_NESTING = 100
/**
 * Names, values and operators of a query. The grammar's parser gives up on rows of one operator that
 * are longer (300 of them after 2,000 characters of the stand-in).
 */
export const MAX_QUERY_TOKENS = 1500
/** Objects and lists within each other in a tree's JSON; readers of JSON have such limits, too. */
export const MAX_TREE_DEPTH = 100
/** Characters of a regular expression. */
export const MAX_REGEX_LENGTH = 4096
/** How often `{n,m}` in a regular expression may repeat. */
export const MAX_REGEX_REPEAT = 1000
/** What one `by(…)` of metrics, and one `select(…)`, may name. */
export const MAX_FIELDS = 32
/** Quantiles of one `quantile_over_time`. */
export const MAX_QUANTILES = 32
/** The largest argument of `topk` and `bottomk`, and of `compare`'s top. */
export const MAX_TOP = 1000
/** Hints of one `with(…)`. */
export const MAX_HINTS = 16
/** Matchers of one `tags` parameter. */
export const MAX_TAGS = 64
