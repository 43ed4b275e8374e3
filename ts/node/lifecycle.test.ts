import { expect, test } from 'vitest'
import { Lifecycle, type Part } from './lifecycle.js'

function recorded(
  log: string[],
  name: string,
  needs: string[] = [],
  fails?: 'start' | 'stop',
): Part {
  return {
    name,
    needs,
    async start() {
      log.push(`+${name}`)
      if (fails === 'start') throw new Error(`${name} cannot start`)
    },
    async stop() {
      log.push(`-${name}`)
      if (fails === 'stop') throw new Error(`${name} cannot stop`)
    },
  }
}

test('parts start after what they need and stop before it', async () => {
  const log: string[] = []
  const lifecycle = new Lifecycle([
    recorded(log, 'query', ['storage']),
    recorded(log, 'gateway', ['storage', 'query']),
    recorded(log, 'storage'),
  ])
  await lifecycle.start()
  expect(lifecycle.state).toBe('running')
  await lifecycle.stop()
  expect(lifecycle.state).toBe('stopped')
  expect(log).toEqual(['+storage', '+query', '+gateway', '-gateway', '-query', '-storage'])
})

test('what has started is stopped again when a later part fails', async () => {
  const log: string[] = []
  const lifecycle = new Lifecycle([recorded(log, 'a'), recorded(log, 'b', ['a'], 'start')])
  await expect(lifecycle.start()).rejects.toThrow('b cannot start')
  expect(lifecycle.state).toBe('failed')
  expect(log).toEqual(['+a', '+b', '-a'])
})

test('every part is stopped though one fails to, and the failure is told', async () => {
  const log: string[] = []
  const lifecycle = new Lifecycle([recorded(log, 'a'), recorded(log, 'b', ['a'], 'stop')])
  await lifecycle.start()
  await expect(lifecycle.stop()).rejects.toThrow('b cannot stop')
  expect(log.at(-1)).toBe('-a')
  expect(lifecycle.state).toBe('failed')
})

test('a second start is refused with its code', async () => {
  const lifecycle = new Lifecycle([])
  await lifecycle.start()
  await expect(lifecycle.start()).rejects.toMatchObject({ code: 'NODE_STATE' })
})

test('parts that need each other are refused', () => {
  const parts = [recorded([], 'a', ['b']), recorded([], 'b', ['a'])]
  expect(() => new Lifecycle(parts)).toThrow('need each other')
})
