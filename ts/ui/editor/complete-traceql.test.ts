import { describe, expect, test } from 'vitest'
import { placeIn, written, writtenValue } from './complete-traceql'

describe('placeIn', () => {
  test.each([
    ['{ ', { kind: 'name', from: 2, typed: '' }],
    ['{ res', { kind: 'name', from: 2, typed: 'res' }],
    ['{ span.http.ro', { kind: 'name', from: 2, typed: 'span.http.ro' }],
    ['{ a = 1 && resource.', { kind: 'name', from: 11, typed: 'resource.' }],
    ['{ name =', { kind: 'value', from: 8, typed: '', tag: 'name' }],
    ['{ name = "GE', { kind: 'value', from: 9, typed: '"GE', tag: 'name' }],
    ['{ span.http.route =~ "/c', { kind: 'value', from: 21, typed: '"/c', tag: 'span.http.route' }],
    ['{ status = e', { kind: 'value', from: 11, typed: 'e', tag: 'status' }],
    ['{ status ', { kind: 'operator', from: 9, tag: 'status' }],
    ['{ status = error ', { kind: 'none' }],
    ['{ } | ra', { kind: 'stage', from: 6, typed: 'ra' }],
    ['{ } | rate() by (resource.ser', { kind: 'name', from: 17, typed: 'resource.ser' }],
    ['{ name = "a { b" } | ', { kind: 'stage', from: 21, typed: '' }],
    ['', { kind: 'none' }],
  ])('%j', (text, wanted) => expect(placeIn(text)).toEqual(wanted))
})

test('names and values are written as TraceQL reads them', () => {
  expect(written('resource', 'service.name')).toBe('resource.service.name')
  expect(written('span', 'a b')).toBe('span."a b"')
  expect(written('intrinsic', 'trace:id')).toBe('trace:id')
  expect(writtenValue('string', 'a "b"')).toBe('"a \\"b\\""')
  expect(writtenValue('int', '7')).toBe('7')
})
