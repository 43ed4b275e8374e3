/** The older search as the tree of its TraceQL. */

import { expect, test } from 'vitest'
import { OtlakeError } from '../../base/errors.js'
import { parseTraceql } from './parse.js'
import { tagsQuery } from './tags.js'

test.each([
  ['', null, null, '{ }'],
  ['service.name=shop', null, null, '{ .service.name = "shop" }'],
  ['name="GET /" span.a=b', null, null, '{ name = "GET /" && span.a = "b" }'],
  ['status=error kind=server', null, null, '{ status = error && kind = server }'],
  ['code=200', null, null, '{ .code = "200" || .code = 200 }'],
  ['ok=true', null, null, '{ .ok = "true" || .ok = true }'],
  ['a="x\\"y"  b=', null, null, '{ .a = "x\\"y" && .b = "" }'],
  ['root.service.name=shop', null, null, '{ rootServiceName = "shop" }'],
  ['', '100ms', null, '{ traceDuration >= 100ms }'],
  ['a=b', '1s', '1h30m', '{ .a = "b" && traceDuration >= 1s && traceDuration <= 90m }'],
])('%s %s %s is %s', (tags, min, max, query) => {
  expect(tagsQuery(tags, min, max)).toEqual(parseTraceql(query))
})

test.each(['a', '=b', 'a="b', 'status=bad', 'kind=bad'])('%s is no tags', (tags) => {
  expect(() => tagsQuery(tags, null, null)).toThrow(
    expect.objectContaining({ code: 'TRACEQL_SYNTAX' }),
  )
})

test('a duration that is none, and too many tags, are refused', () => {
  expect(() => tagsQuery('', '5', null)).toThrow(OtlakeError)
  const many = Array.from({ length: 65 }, (_, index) => `a${index}=b`).join(' ')
  expect(() => tagsQuery(many, null, null)).toThrow(
    expect.objectContaining({ code: 'TRACEQL_TOO_LARGE' }),
  )
})
