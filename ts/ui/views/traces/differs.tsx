/** What differs: the selected spans against the rest, by attribute. */

import { useLoad } from '../../api/load'
import { metricsInstant, quoted, spansOf } from '../../api/tempo'
import { formatCount, formatDuration, formatPercent } from '../../parts/format'
import { Busy, Empty, Shown } from '../../parts/states'
import { linkTo, param, range, setParams } from '../../state/page'
import type { Box } from './heat'
import { type Compared, type Difference, ranked, UNSET, without } from './ranking'

/** Values of an attribute that the node is asked for. */
const TOP = 20
const SHOWN_ATTRIBUTES = 25

/** What is selected, as a condition on spans. */
function selectionOf(kind: string, box: Box | null, slow: string): string {
  if (kind === 'box' && box) {
    return `{ duration >= ${Math.floor(box.least)}ns && duration < ${Math.ceil(box.most)}ns }`
  }
  return kind === 'slow' ? `{ duration > ${slow} }` : '{ status = error }'
}

export function Differs({ query, box }: { query: string; box: Box | null }) {
  const wanted = param('sel')
  const kind = wanted === 'box' && !box ? 'error' : wanted || (box ? 'box' : 'error')
  const slow = param('slow') || '100ms'
  const selection = selectionOf(kind, box, slow)
  const { from, to } = range.value
  const times =
    kind === 'box' && box ? `, ${Math.round(box.from * 1e6)}, ${Math.round(box.to * 1e6)}` : ''
  const text = `${spansOf(query)} | compare(${selection}, ${TOP}${times})`
  const loaded = useLoad(
    async (signal) => ranked(await metricsInstant(text, { from, to }, signal)),
    [text, from, to],
  )
  return (
    <section aria-label="What differs">
      <Busy of={[loaded]} />
      <div class="row">
        <label>
          Selected
          <select value={kind} onChange={(event) => setParams({ sel: event.currentTarget.value })}>
            {box && <option value="box">the box of the heat map</option>}
            <option value="error">failed spans</option>
            <option value="slow">spans slower than</option>
          </select>
        </label>
        {kind === 'slow' && (
          <input
            aria-label="Slower than"
            value={slow}
            size={8}
            onChange={(event) => setParams({ slow: event.currentTarget.value.trim() })}
          />
        )}
        {kind === 'box' && box && (
          <span class="soft">
            {formatDuration(box.least)} to {formatDuration(box.most)}
          </span>
        )}
      </div>
      <Shown of={loaded} title="These could not be compared">
        {(compared) => <Ranking compared={compared} query={query} selection={selection} />}
      </Shown>
    </section>
  )
}

function Ranking({
  compared,
  query,
  selection,
}: {
  compared: Compared
  query: string
  selection: string
}) {
  const { inside, outside } = compared
  if (inside === 0 || outside === 0) {
    return (
      <Empty title={inside === 0 ? 'No span is selected' : 'Every span is selected'}>
        <p>
          {inside === 0
            ? 'Select others above, drag a box on the heat map, or choose a longer range.'
            : 'There is nothing to compare them with: select fewer, or ask for more spans.'}
        </p>
      </Empty>
    )
  }
  const differences = without(compared.differences, selection)
    .filter(({ score }) => score > 0.01)
    .slice(0, SHOWN_ATTRIBUTES)
  return (
    <>
      <p class="soft">
        {formatCount(inside)} selected spans against {formatCount(outside)} others. What tells them
        apart best comes first; a value leads to its spans.
      </p>
      {differences.length === 0 && (
        <Empty title="Nothing tells them apart">
          <p>Every attribute has its values as often in both.</p>
        </Empty>
      )}
      <ol class="differences">
        {differences.map((each) => (
          <One key={each.attribute} difference={each} query={query} />
        ))}
      </ol>
    </>
  )
}

function One({ difference, query }: { difference: Difference; query: string }) {
  const { attribute, score, values } = difference
  return (
    <li class="card">
      <h2>
        <code>{attribute}</code> <span class="soft">{formatPercent(score)} apart</span>
      </h2>
      <table class="table">
        <thead>
          <tr>
            <th>Value</th>
            <th>Selected</th>
            <th>Others</th>
          </tr>
        </thead>
        <tbody>
          {values.map(({ value, inside, outside }) => (
            <tr key={value}>
              <td class="value">
                <a href={linkTo(['traces'], { q: narrowedTo(query, attribute, value) })}>{value}</a>
              </td>
              <td>
                <Share share={inside} isSelected />
              </td>
              <td>
                <Share share={outside} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </li>
  )
}

function Share({ share, isSelected = false }: { share: number; isSelected?: boolean }) {
  return (
    <div class={isSelected ? 'share is-selected' : 'share'}>
      <span style={{ width: `${share * 100}%` }} />
      <b>{formatPercent(share)}</b>
    </div>
  )
}

/** Intrinsics that are words in TraceQL, not text. */
const WORDS = ['kind', 'status']

function narrowedTo(query: string, attribute: string, value: string): string {
  if (value === UNSET) return `${spansOf(query)} | { ${attribute} = nil }`
  const isPlain = WORDS.includes(attribute) || /^(-?\d+(\.\d+)?|true|false)$/.test(value)
  return `${spansOf(query)} | { ${attribute} = ${isPlain ? value : quoted(value)} }`
}
