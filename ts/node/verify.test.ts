import { expect, test } from 'vitest'
import { type Finding, isDamage, verdict } from './verify.js'

const finding = (outcome: Finding['outcome']): Finding => ({
  path: 'files/tables/spans/tenant=a/day=2026-01-01/x.parquet',
  kind: 'file',
  bytes: 10,
  outcome,
  message: null,
  checked_bytes: 10,
  total_bytes: 20,
})

const of = (outcome: Finding['outcome'], nodes: string[], silent: string[] = [], wanted = 2) =>
  verdict(finding(outcome), { wanted, nodes }, { own: 'n1', silent })

test('of a file that enough nodes have nothing more is told but that it is elsewhere', () => {
  expect(of('whole', ['n1', 'n2'])).toBeNull()
  expect(of('elsewhere', ['n2', 'n3'])).toMatchObject({ outcome: 'elsewhere' })
})

test('a file that too few nodes have is told apart from one that none has', () => {
  const few = of('whole', ['n1'], ['n3'])
  expect(few).toMatchObject({ outcome: 'under_replicated', bytes: 0 })
  expect(few?.message).toBe('1 of 2 nodes have it: n1; not asked: n3')
  const none = of('elsewhere', [], ['n2', 'n3'])
  expect(none?.outcome).toBe('missing')
  expect(none?.message).toBe('no node has a sound copy; not asked: n2, n3')
  expect([few, none].map((each) => each !== null && isDamage(each))).toEqual([false, true])
})

test('a copy that was found to be damaged does not count, whatever its node knows', () => {
  expect(of('damaged', ['n1', 'n2'])).toMatchObject({ outcome: 'under_replicated' })
  expect(of('damaged', ['n1'])).toMatchObject({ outcome: 'missing' })
  expect(of('damaged', ['n1', 'n2', 'n3'])).toBeNull()
})
