import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { systemClock } from '../base/clock.js'
import { diskCheck, FAILURES, Health, memoryCheck, tcpCheck } from './health.js'

test('three failures in a row flip a check, one success flips it back', async () => {
  let broken = true
  const health = new Health(
    [
      {
        name: 'fickle',
        async run() {
          if (broken) throw new Error('it is broken')
        },
      },
    ],
    systemClock,
  )
  for (let round = 1; round <= FAILURES; round++) {
    expect(health.healthy).toBe(true)
    await health.round()
  }
  expect(health.healthy).toBe(false)
  expect(health.states()[0]).toMatchObject({ failures: 3, message: 'it is broken' })
  broken = false
  await health.round()
  expect(health.healthy).toBe(true)
})

test('a check that does not answer in time fails', async () => {
  const clock = { ...systemClock, sleep: async () => undefined }
  const health = new Health([{ name: 'stuck', run: () => new Promise(() => undefined) }], clock)
  await health.round()
  expect(health.states()[0]?.message).toContain('no answer')
})

test('disk and memory are held against their limits', async () => {
  await diskCheck(tmpdir(), 100).run()
  await expect(diskCheck(tmpdir(), 0).run()).rejects.toThrow('disk is')
  await memoryCheck(100).run()
  await expect(memoryCheck(0).run()).rejects.toThrow('memory is')
})

test('a port that nobody listens on fails', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as import('node:net').AddressInfo
  const check = tcpCheck('test', () => `127.0.0.1:${port}`)
  await check.run()
  await new Promise((resolve) => server.close(resolve))
  await expect(check.run()).rejects.toThrow()
})
