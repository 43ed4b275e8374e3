/** Each view of the page in Chromium, on telemetry that the OpenTelemetry SDK sent to a running node. */

import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { sendShopTelemetry } from '../../cli/shop.js'
import { ServerProcess, temporaryFolder } from '../../testing/server.js'
import { findings, open, settled, startBrowser, type Watched, watched } from './browser.js'
import { sendLog, sendMetrics } from './telemetry.js'

/** Thirteen views are read by axe-core one after the other. */
const AXE_MS = 300_000

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess
let browser: Browser
let view: Watched
/** A trace that failed. */
let traceId: string
let traces: string[]

beforeAll(async () => {
  folder = await temporaryFolder()
  ;[server, browser] = await Promise.all([ServerProcess.start(folder.path), startBrowser()])
  ;({ traceId } = await sendShopTelemetry(`http://${server.addresses.otlpHttp}`, 60))
  await sendMetrics(server, traceId, Date.now())
  const rows = await server.rows<{ trace_id: string }>('SELECT DISTINCT trace_id FROM spans')
  traces = rows.map(({ trace_id }) => trace_id).filter((id) => id !== traceId)
})

afterAll(async () => {
  await browser.close()
  await server.stop()
  await folder.remove()
})

beforeEach(async () => {
  view = await watched(browser, server)
})

afterEach(async () => {
  const { page, complaints, strangers } = view
  await page.context().close()
  expect({ complaints, strangers }).toEqual({ complaints: [], strangers: [] })
})

const see = (hash: string) => open(view.page, server, hash)
const written = (url: URL) => decodeURIComponent(url.href.replaceAll('+', ' '))

describe('traces', () => {
  test('a query narrows the list, and the address has it', async () => {
    const { page } = view
    await see('#/traces')
    await expect.poll(() => page.locator('.result').count()).toBeGreaterThan(5)
    const bar = page.getByRole('textbox', { name: /TraceQL/ })
    await bar.fill('{ resource.service.name = "payment" && status = error }')
    await bar.press('Enter')
    await page.waitForURL((url) => written(url).includes('status = error'))
    // The list of before is there until that of the query has come.
    const services = page.locator('.result .services')
    const others = services.filter({ hasNotText: 'failed' })
    const isNarrowed = async () => (await services.count()) > 0 && (await others.count()) === 0
    await expect.poll(isNarrowed).toBe(true)
    const narrowed = await services.count()
    await page.goBack()
    await expect.poll(() => page.locator('.result').count()).toBeGreaterThan(narrowed)
  })

  test('the bar completes names and values from the tables', async () => {
    const { page } = view
    await see('#/traces')
    const bar = page.getByRole('textbox', { name: /TraceQL/ })
    await bar.click()
    await page.keyboard.type('{ span.shop.pay')
    await page.getByRole('option', { name: /span\.shop\.payment\.method/ }).waitFor()
    // The list takes no key in its first moment, lest one that was meant for the text chooses.
    await page.waitForTimeout(200)
    await page.keyboard.press('Enter')
    await page.keyboard.type(' = ')
    await page.keyboard.type('"vou')
    await page.getByRole('option', { name: /"voucher"/ }).waitFor()
    await page.waitForTimeout(200)
    await page.keyboard.press('Enter')
    await expect.poll(() => bar.innerText()).toContain('{ span.shop.payment.method = "voucher"')
  })

  test('a box on the heat map narrows the list to its times and durations', async () => {
    const { page } = view
    await see('#/traces?from=now-5m')
    const all = await page.locator('.result').count()
    const map = page.getByRole('application', { name: /Heat map/ })
    await map.focus()
    // The lowest rows are empty: from the bottom right corner to the left, two rows high.
    for (let step = 0; step < 12; step++) await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Shift+ArrowUp')
    await page.keyboard.press('Shift+ArrowLeft')
    await page.keyboard.press('Enter')
    await page.waitForURL(/box=/)
    await expect.poll(() => page.locator('.result').count()).toBeLessThan(all)
    await map.focus()
    await page.keyboard.press('Escape')
    await settled(page)
    await expect.poll(() => page.locator('.result').count()).toBe(all)
    const box = await map.locator('canvas').boundingBox()
    if (!box) throw new Error('the map is not there')
    await page.mouse.move(box.x + 75, box.y + 5)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width - 2, box.y + box.height - 30, { steps: 4 })
    await page.mouse.up()
    await settled(page)
    await page.getByText(/^Box: /).waitFor()
    await expect.poll(() => page.locator('.result').count()).toBe(all)
  })

  test('what differs names the attribute that explains the failed spans', async () => {
    const { page } = view
    await see('#/traces?tab=differs')
    const first = page.locator('.differences li').first()
    await expect
      .poll(() => first.innerText())
      .toMatch(/span\.shop\.payment\.method[\s\S]*voucher\s+100%/)
    await first.getByRole('link', { name: 'voucher' }).click()
    await settled(page)
    await expect.poll(() => page.locator('.result').count()).toBeGreaterThan(0)
  })

  test('a query that makes metrics is drawn', async () => {
    await see('#/traces?q=%7B+%7D+%7C+rate()+by+(resource.service.name)')
    await view.page.getByRole('img', { name: /Series of the query.*payment/ }).waitFor()
  })

  test('a query that is wrong tells what to change', async () => {
    const { page, complaints } = view
    await see('#/traces?q=%7B+duration+%3D+%22x%22+%7D')
    await page.getByRole('alert').filter({ hasText: 'TRACEQL_TYPE' }).first().waitFor()
    // The browser itself writes down each answer of 400.
    expect(complaints.splice(0).every((text) => text.includes('400'))).toBe(true)
  })
})

describe('a trace', () => {
  test('shows its spans, the critical path, events and details with what they lead to', async () => {
    const { page } = view
    await see(`#/trace/${traceId}`)
    const spans = page.getByRole('treeitem')
    await expect.poll(() => spans.count()).toBe(4)
    await expect.poll(() => page.locator('.critical').count()).toBeGreaterThan(2)
    await page.getByRole('treeitem', { name: /failed.*charge voucher/ }).click()
    await settled(page)
    const details = page.getByRole('complementary', { name: 'Span' })
    await details.getByText('error: the voucher has expired').waitFor()
    await expect.poll(() => details.innerText()).toMatch(/shop\.payment\.method\s+voucher/)
    await expect.poll(() => details.getByText('the voucher has expired').count()).toBeGreaterThan(1)
    expect(page.url()).toContain('span=')
    await details.getByRole('link', { name: 'All with shop.payment.method = voucher' }).click()
    await settled(page)
    await expect.poll(() => page.locator('.result').count()).toBeGreaterThan(0)
  })

  test('is gone through with the keys', async () => {
    const { page } = view
    await see(`#/trace/${traceId}`)
    await page.getByRole('tree').focus()
    await page.keyboard.press('ArrowLeft')
    await expect.poll(() => page.getByRole('treeitem').count()).toBe(1)
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press('End')
    await page.keyboard.press('Enter')
    await page
      .getByRole('complementary', { name: 'Span' })
      .getByText(/charge voucher/)
      .waitFor()
    await page.keyboard.press('Escape')
    await expect.poll(() => page.getByRole('complementary').count()).toBe(0)
  })

  test('has a flame graph, its logs, and another trace beside it', async () => {
    const { page } = view
    await see(`#/trace/${traceId}?tab=flame`)
    await page.getByRole('application', { name: /Flame graph/ }).focus()
    await page.keyboard.press('ArrowDown')
    await page.getByText(/frontend POST \/orders: .* in 1 spans, 1 failed/).waitFor()
    await see(`#/trace/${traceId}?tab=logs`)
    await expect
      .poll(() => page.locator('.log-line').allInnerTexts())
      .toEqual([expect.stringContaining('the voucher has expired')])
    await see(`#/trace/${traceId}?tab=compare&with=${traces[0]}`)
    await page.getByText(/This one took/).waitFor()
    await expect.poll(() => page.locator('.pair').count()).toBeGreaterThan(3)
  })

  test('an id that is not stored says so', async () => {
    await see(`#/trace/${'0123456789abcdef'.repeat(2)}`)
    await view.page.getByText('No span of this trace is stored').waitFor()
  })
})

test('services have their figures, a map, and their operations', async () => {
  const { page } = view
  await see('#/services')
  const row = page.getByRole('row', { name: /payment/ })
  await expect.poll(() => row.innerText()).toMatch(/payment[\s\S]*16\.7%[\s\S]*ms/)
  await expect.poll(() => row.locator('svg').count()).toBe(5)
  await page.getByRole('tab', { name: 'Map' }).click()
  await settled(page)
  const calls = page.getByRole('region', { name: 'Calls' })
  await expect.poll(() => calls.innerText()).toMatch(/orders\s+payment\s+60/)
  await expect.poll(() => calls.innerText()).toMatch(/stock\s+postgresql/)
  await page.getByRole('link', { name: /^frontend / }).click()
  await settled(page)
  await page.getByRole('row', { name: /POST \/orders/ }).waitFor()
})

describe('logs', () => {
  test('are found by text, severity and a click on an attribute, and lead to their trace', async () => {
    const { page } = view
    await see('#/logs')
    await page.getByRole('img', { name: /Log records over time/ }).waitFor()
    await page.getByRole('searchbox', { name: 'Text in the body' }).fill('VOUCHER')
    await page.getByRole('searchbox', { name: 'Text in the body' }).press('Enter')
    await settled(page)
    await page.getByRole('button', { name: 'error', exact: true }).click()
    await settled(page)
    const lines = await page.getByRole('option', { name: /voucher/ }).allInnerTexts()
    expect(lines.length).toBeGreaterThan(3)
    await page
      .getByRole('option', { name: /voucher/ })
      .first()
      .click()
    await page.getByRole('link', { name: /All with shop\.order/ }).click()
    await settled(page)
    await expect.poll(() => page.getByRole('option', { name: /voucher/ }).count()).toBe(1)
    await page.getByRole('option', { name: /voucher/ }).click()
    await page.getByRole('link', { name: 'Its trace', exact: true }).click()
    await settled(page)
    await expect.poll(() => page.getByRole('treeitem').count()).toBe(4)
  })

  test('come in live, filtered', async () => {
    const { page } = view
    await see('#/logs?live=1&text=wanted')
    await page.getByText('Waiting for records …').waitFor()
    await sendLog(server, 'this one is wanted', Date.now())
    await sendLog(server, 'this one is not', Date.now())
    await sendLog(server, 'wanted, too', Date.now())
    await page.getByRole('option', { name: /wanted, too/ }).waitFor()
    await expect
      .poll(() => page.locator('.log-body').allInnerTexts())
      .toEqual([...['wanted, too', 'this one is wanted']])
  })
})

test('metrics are browsed, drawn with rates and groups, and exemplars open their trace', async () => {
  const { page } = view
  await see('#/metrics')
  await page.getByRole('link', { name: /^checkouts/ }).click()
  await settled(page)
  await page.getByRole('combobox', { name: 'by' }).selectOption('payment')
  await settled(page)
  // 60 and 120 in each minute.
  await page
    .getByRole('img', { name: /card: from 1\/s to 1\/s; voucher: from 2\/s to 2\/s/ })
    .waitFor()
  await page.getByRole('link', { name: /^checkout\.duration/ }).click()
  await settled(page)
  await page.getByRole('img', { name: /p50.*p95.*p99.*exemplars/ }).waitFor()
  await page.getByText(/exemplars lead to their traces/).click()
  await page
    .getByRole('link', { name: /500 ms at/ })
    .first()
    .click()
  await settled(page)
  await page.waitForURL((url) => url.href.includes(`/trace/${traceId}`))
})

describe('SQL', () => {
  test('a statement gives a table, a plot, a plan and downloads', async () => {
    const { page } = view
    await see('#/sql')
    const editor = page.getByRole('textbox', { name: 'SQL statement' })
    await editor.fill(
      'SELECT service_name, kind, count(*) AS n FROM spans GROUP BY 1, 2 ORDER BY 1',
    )
    await editor.press('Control+Enter')
    await page.getByText(/^Done/).waitFor()
    const table = page.getByRole('table', { name: 'Rows' })
    await expect.poll(() => table.innerText()).toMatch(/frontend\s+2\s+60/)
    const parquet = page.waitForEvent('download')
    await page.getByRole('button', { name: '↓ Parquet' }).click()
    const file = await (await parquet).path()
    await page.getByRole('tab', { name: 'Plot' }).click()
    await page.getByRole('img', { name: /kind by kind|n by kind|kind by n/ }).waitFor()
    await page.getByRole('tab', { name: 'Plan' }).click()
    await page.getByText(/physical_plan/).waitFor()
    // What was downloaded is read here, without the node.
    await page.locator('input[type=file]').setInputFiles(file)
    await page.getByText(/read here, sent nowhere/).waitFor()
    await expect
      .poll(() => page.getByRole('table', { name: 'Rows' }).innerText())
      .toMatch(/frontend\s+2\s+60/)
    await page.getByRole('button', { name: 'Close the file' }).click()
    for (const ending of ['CSV', 'Arrow']) {
      const download = page.waitForEvent('download')
      await page.getByRole('button', { name: `↓ ${ending}` }).click()
      expect((await download).suggestedFilename()).toMatch(/^otlake\./)
    }
  })

  test('text that replaces a selection at once needs no style that the policy refuses', async () => {
    const { page } = view
    await see('#/sql')
    const content = page.locator('.editor .cm-content')
    // Selects and inserts in one step: the editor hears of the selection later.
    await content.fill('SELECT 1 AS one')
    await content.fill('SELECT 2 AS two')
    await expect.poll(() => content.innerText()).toBe('SELECT 2 AS two')
  })

  test('the editor completes tables and columns', async () => {
    const { page } = view
    await see('#/sql')
    await page.getByRole('textbox', { name: 'SQL statement' }).fill('')
    await page.keyboard.type('SELECT * FROM metrics_exp')
    await page.getByRole('option', { name: /metrics_exponential_histogram/ }).waitFor()
  })
})

test('the system tells of ingest, acknowledgements, live batches, files and disk', async () => {
  const { page } = view
  await see('#/system')
  await page.getByText(/Well: every check passes/).waitFor()
  await page.getByRole('img', { name: /Acknowledged records/ }).waitFor()
  await expect
    .poll(() => page.getByRole('region', { name: 'Tables' }).innerText())
    .toContain('spans')
  await expect
    .poll(() => page.getByRole('region', { name: 'Rejections' }).innerText())
    .toContain('None')
})

test('the plots of the system begin before the view was opened', async () => {
  const { page } = view
  const past = async () => {
    const response = await fetch(server.url('/api/v1/history'))
    return (await response.json()) as { at: number[]; figures: Record<string, (number | null)[]> }
  }
  // What was sent before any test, in the sample that came after it.
  await expect
    .poll(async () => Math.max(...((await past()).figures.acknowledgedTraces ?? []).map(Number)), {
      timeout: 20_000,
    })
    .toBeGreaterThan(0)
  const opened = Date.now()
  await see('#/system')
  const { at, figures } = await past()
  expect(at.filter((time) => time < opened).length).toBeGreaterThan(0)
  expect(Object.keys(figures)).toContain('residentBytes')
  const plot = page.getByRole('img', { name: /^Acknowledged records/ })
  await plot.waitFor()
  expect(await plot.getAttribute('aria-label')).toMatch(/traces: from 0\/s to [1-9]/)
  const memory = page.getByRole('img', { name: /^Memory of the process/ })
  expect(await memory.getAttribute('aria-label')).toMatch(/resident: from [\d.]+ MiB/)
})

test('with no data yet, three lines tell how to send some', async () => {
  const empty = await temporaryFolder()
  const fresh = await ServerProcess.start(empty.path)
  const { page, complaints } = await watched(browser, fresh)
  await open(page, fresh, '#/traces')
  await page.getByText('No telemetry yet').waitFor()
  const lines = (await page.locator('.lines pre').innerText()).split('\n')
  expect(lines).toHaveLength(3)
  expect(lines[1]).toBe(`export OTEL_EXPORTER_OTLP_ENDPOINT=http://${fresh.addresses.otlpHttp}`)
  expect(await findings(page)).toEqual([])
  expect(complaints).toEqual([])
  await page.context().close()
  await fresh.stop()
  await empty.remove()
})

test('keys lead from view to view, and a list names them', async () => {
  const { page } = view
  await see('#/traces')
  await page.locator('main').focus()
  await page.keyboard.press('g')
  await page.keyboard.press('l')
  await page.waitForURL(/#\/logs/)
  await settled(page)
  await page.locator('main').focus()
  await page.keyboard.press('?')
  await page.getByRole('dialog', { name: 'Keys' }).getByText('Go to Metrics').waitFor()
  await page.keyboard.press('Escape')
  await page.keyboard.press('f')
  await page
    .getByRole('dialog', { name: 'Range' })
    .getByRole('button', { name: 'Last 6 hours' })
    .click()
  await page.waitForURL(/from=now-6h/)
})

describe('axe-core finds nothing, and nothing is wider than the screen', () => {
  const views = (): [string, string][] => [
    ['traces', '#/traces'],
    ['what differs', '#/traces?tab=differs'],
    ['trace', `#/trace/${traceId}`],
    ['flame graph', `#/trace/${traceId}?tab=flame`],
    ['logs of a trace', `#/trace/${traceId}?tab=logs`],
    ['comparison', `#/trace/${traceId}?tab=compare&with=${traces[0]}`],
    ['services', '#/services'],
    ['map', '#/services?tab=map'],
    ['operations', '#/services/frontend'],
    ['logs', '#/logs'],
    ['metrics', '#/metrics?name=checkout.duration&kind=histogram'],
    ['SQL', '#/sql?sql=SELECT+*+FROM+spans+LIMIT+50'],
    ['system', '#/system'],
  ]
  test.each([
    ['in light', 'light', { width: 1280, height: 900 }],
    // The theme changes colours and nothing else.
    ['in dark', 'dark', { width: 1280, height: 900 }, 'colors'],
    ['on a phone', 'dark', { width: 390, height: 844 }],
  ] as [string, 'light' | 'dark', { width: number; height: number }, 'colors'?][])(
    '%s',
    async (_how, colorScheme, viewport, only?) => {
      const { page, complaints } = await watched(browser, server, { colorScheme, viewport })
      const found: string[] = []
      for (const [name, hash] of views()) {
        await open(page, server, hash)
        found.push(...(await findings(page, only)).map((finding) => `${name}: ${finding}`))
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
        if (wide > 0) found.push(`${name}: ${wide} pixels wider than the screen`)
      }
      await page.context().close()
      expect(found).toEqual([])
      expect(complaints).toEqual([])
    },
    AXE_MS,
  )
})
