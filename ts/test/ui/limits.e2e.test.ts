/** The page at its limits: large traces, a query that is cancelled, a node that goes away and returns. */

import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { metric, settles } from '../../testing/load.js'
import { ServerProcess, set, temporaryFolder } from '../../testing/server.js'
import { open, settled, startBrowser, watched } from './browser.js'
import { sendLargeTrace } from './telemetry.js'

const TRACE = 'abcdef0123456789abcdef0123456789'
const SPANS = 200_000
/**
 * A socket of uWebSockets.js keeps its port until the browser has let go of it, too, so that a node could not
 * start again at once; those of node:http do not.
 */
const ADAPTER = set({ 'http.adapter': 'node' })

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess
let browser: Browser

beforeAll(async () => {
  folder = await temporaryFolder()
  ;[server, browser] = await Promise.all([
    ServerProcess.start(folder.path, ADAPTER),
    startBrowser(),
  ])
  await sendLargeTrace(server, TRACE, SPANS, Date.now() - 60_000)
})

afterAll(async () => {
  await browser.close()
  await server.stop()
  await folder.remove()
})

test('a trace of 200,000 spans opens, and is gone through from its first span to its last', async () => {
  const { page, complaints } = await watched(browser, server)
  await open(page, server, `#/trace/${TRACE}`)
  await page.getByText('200k spans of 1 service').waitFor()
  const rows = page.getByRole('treeitem')
  const first = await rows.count()
  expect(first).toBeGreaterThan(10)
  expect(first).toBeLessThan(100)
  const tree = page.getByRole('tree')
  await tree.focus()
  await page.keyboard.press('End')
  await page.waitForFunction(() => {
    const list = document.querySelector('.spans')
    return list && list.scrollTop + list.clientHeight > list.scrollHeight - 100
  })
  expect(await rows.count()).toBeLessThan(100)
  expect(await page.locator('.span.is-here').count()).toBe(1)
  await page.keyboard.press('Home')
  await page.getByRole('treeitem', { name: /large operation 0.*10 s/ }).waitFor()
  await page.getByRole('searchbox', { name: 'Find spans' }).fill('error')
  await page.getByText('2000 found').waitFor()
  await page.getByRole('searchbox', { name: 'Find spans' }).press('Enter')
  await page.locator('.span.is-here.is-found').waitFor()
  await page.getByRole('button', { name: 'Close all' }).click()
  await page.waitForFunction(() => document.querySelectorAll('.span').length === 9)
  await page.getByRole('tab', { name: 'Flame graph' }).click()
  await page.getByRole('region', { name: 'Operations' }).getByText('operation 7').first().waitFor()
  expect(complaints).toEqual([])
  await page.context().close()
})

test('a slow query that is cancelled ends on the node, too', async () => {
  const { page, complaints } = await watched(browser, server)
  await open(page, server, '#/sql')
  const slow =
    'SELECT sum(a.value * b.value) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b'
  await page.getByRole('textbox', { name: 'SQL statement' }).fill(slow)
  await page.getByRole('button', { name: /^Run/ }).click()
  await page.getByText(/^Running/).waitFor()
  await expect.poll(() => metric(server, 'otlake_queries_running')).toBeGreaterThan(0)
  await page.getByRole('button', { name: 'Cancel' }).click()
  await page.getByText(/^Cancelled/).waitFor()
  await settles(server, 'otlake_queries_running')
  expect(complaints).toEqual([])
  await page.context().close()
})

test('a node that goes away is told of, and the page goes on when it is back', async () => {
  const { page, complaints } = await watched(browser, server)
  await open(page, server, '#/services')
  await page.getByRole('row', { name: /large/ }).waitFor()
  const { http, otlpHttp } = server.addresses
  await server.stop()
  await page.getByRole('button', { name: 'Load again' }).click()
  await page
    .getByText(/does not answer/)
    .first()
    .waitFor()
  server = await ServerProcess.start(folder.path, [
    ...ADAPTER,
    '--http',
    http,
    '--otlp-http',
    otlpHttp,
  ])
  await page.getByRole('row', { name: /large/ }).waitFor()
  await settled(page)
  expect(await page.getByText(/does not answer/).count()).toBe(0)
  // What the browser itself writes down of a node that is away, and nothing else.
  expect(complaints.filter((text) => !/Failed to load resource.*net::ERR_/.test(text))).toEqual([])
  await page.context().close()
})
