/** The judgement that every record of a load is stored once. */

/** How many of the records that are not as they should be are named. */
const MAX_NAMED = 5

/**
 * What is wrong with `stored`, how often each record is there: all of `acknowledged` have to be there
 * once, those that were `sent` and not acknowledged once or never, and no others.
 */
export function notOnce(
  sent: ReadonlySet<string>,
  acknowledged: ReadonlySet<string>,
  stored: ReadonlyMap<string, number>,
): string[] {
  const wrong = {
    lost: [...acknowledged].filter((id) => !stored.has(id)),
    doubled: [...stored].flatMap(([id, rows]) => (rows > 1 ? [id] : [])),
    'never sent': [...stored.keys()].filter((id) => !sent.has(id)),
  }
  return Object.entries(wrong)
    .filter(([, ids]) => ids.length > 0)
    .map(([what, ids]) => `${ids.length} ${what}: ${ids.slice(0, MAX_NAMED).join(', ')}`)
}
