import { expect, test } from 'vitest'
import { addressOf, formatAddress, parseAddress } from './address'

test('an address that is written and read gives itself', () => {
  const address = {
    path: ['services', 'a/b & c'],
    params: { q: '{ name = "GET /cart" && span.x =~ "a?#%" }', from: 'now-1h' },
  }
  expect(parseAddress(formatAddress(address))).toEqual(address)
})

test('another view keeps range, zone, refresh and tenant, and nothing else', () => {
  const current = parseAddress('#/traces?q=%7B%7D&from=now-6h&to=now&tz=UTC&refresh=10s&tenant=a')
  expect(parseAddress(addressOf(current, ['logs'], { text: 'x' }))).toEqual({
    path: ['logs'],
    params: { from: 'now-6h', to: 'now', tz: 'UTC', refresh: '10s', tenant: 'a', text: 'x' },
  })
})

test('a broken escape is dropped, and empty parameters are not written', () => {
  expect(parseAddress('#/trace/%E0%A4%A/x').path).toEqual(['trace', 'x'])
  expect(formatAddress({ path: ['logs'], params: { text: '' } })).toBe('#/logs')
})
