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
  // The rows of the end are drawn by the frame after the one that scrolls.
  await page.locator('.span.is-here').waitFor()
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

/** Every row is read, and takes a tenth of a millisecond or so: two texts are compared letter by letter. */
const SLOW_ROWS =
  "SELECT max(levenshtein(repeat(name, 30), repeat('another operation', 30))) FROM spans"

test('a slow query tells how much it has read, which grows until it is cancelled', async () => {
  const { page, complaints } = await watched(browser, server)
  await open(page, server, '#/sql')
  await page.getByRole('textbox', { name: 'SQL statement' }).fill(SLOW_ROWS)
  await page.getByRole('button', { name: /^Run/ }).click()
  const bar = page.getByRole('progressbar', { name: 'How much of it is read' })
  const share = async () => Number(await bar.getAttribute('value'))
  await expect.poll(share, { timeout: 30_000 }).toBeGreaterThan(0)
  const first = await share()
  await page.getByText(/% read \([\d.k ]+ of 200k rows\)/).waitFor()
  await expect.poll(share, { timeout: 30_000 }).toBeGreaterThan(first)
  expect(await share()).toBeLessThan(1)
  const told = await fetch(server.url('/api/v1/queries'))
  const { queries } = (await told.json()) as { queries: { kind: string; state: string }[] }
  expect(queries).toMatchObject([{ kind: 'sql', state: 'reading', rowsToRead: SPANS }])
  await page.getByRole('button', { name: 'Cancel' }).click()
  await page.getByText(/^Cancelled/).waitFor()
  expect(await bar.count()).toBe(0)
  await settles(server, 'otlake_queries_running')
  const after = await fetch(server.url('/api/v1/queries'))
  expect(await after.json()).toEqual({ queries: [] })
  expect(complaints).toEqual([])
  await page.context().close()
})

test('a view that waits for a slow query tells how far that is', async () => {
  const { page, complaints } = await watched(browser, server)
  // The node gives the query's answer late, as it would on much more data.
  await page.route('**/tempo/api/search?*', async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 3000))
    await route.continue()
  })
  await page.route('**/api/v1/queries?*', (route) =>
    route.fulfill({
      json: {
        queries: [
          {
            ...{ id: 'a', kind: 'traceql_search', tenant: null, state: 'reading' },
            ...{ elapsedMs: 1200, rowsRead: 40_000, rowsToRead: 160_000, share: 0.25 },
          },
        ],
      },
    }),
  )
  await page.goto(server.url('/#/traces'))
  await page.getByText('1.2 s: 25% read (40k of 160k rows)').waitFor()
  await page.locator('.result').first().waitFor()
  expect(await page.getByRole('progressbar').count()).toBe(0)
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
