/** One row of the table, from the runs of one condition. */

/** `runs`: `{ suspicions, deaths, bytes, detectMs, allKnowMs }` of each cluster. */
export function summary(what, { nodes, seconds, loss, paused = false, streamProbe = true }, runs) {
  const total = (key) => runs.reduce((sum, one) => sum + one[key], 0)
  const nodeSeconds = runs.length * nodes * seconds
  const perNodeHour = (count) => Number(((count / nodeSeconds) * 3600).toFixed(2))
  const detect = sorted(runs.map(({ detectMs }) => detectMs))
  const spread = sorted(runs.map(({ allKnowMs, detectMs }) => allKnowMs - detectMs))
  const all = sorted(runs.map(({ allKnowMs }) => allKnowMs))
  const condition = [
    `${loss * 100}% loss`,
    ...(paused ? ['1 s pauses'] : []),
    ...(streamProbe ? [] : ['no TCP probe']),
  ]
  return {
    what,
    nodes,
    condition: condition.join(', '),
    clusters: runs.length,
    seconds,
    'suspected /node h': perNodeHour(total('suspicions')),
    'declared dead': total('deaths'),
    'bytes /node s': Math.round(total('bytes') / nodeSeconds),
    'detected s, median': inSeconds(median(detect)),
    'detected s, max': inSeconds(detect.at(-1)),
    'spread s, median': inSeconds(median(spread)),
    'all know s, max': inSeconds(all.at(-1)),
  }
}

const sorted = (values) => values.sort((a, b) => a - b)
const median = (values) => values[Math.floor(values.length / 2)]
const inSeconds = (ms) => (Number.isFinite(ms) ? Number((ms / 1000).toFixed(2)) : 'never')
