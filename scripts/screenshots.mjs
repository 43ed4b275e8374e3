/**
 * The pictures of docs/page.md: a node with the telemetry of the demo's shop, and each view of the page in
 * Debian's Chromium, light and dark.
 *
 *   npm run screenshots                                  all of them, into docs/images
 *   node scripts/screenshots.mjs --only system,map --into /tmp/pictures --phone
 */

import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { chromium } from 'playwright-core'
import { sendShopTelemetry } from '../dist/cli/shop.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const ORDERS = 1200
const { values: options } = parseArgs({
  options: { only: { type: 'string' }, into: { type: 'string' }, phone: { type: 'boolean' } },
})
const only = options.only?.split(',')
const into = options.into ?? join(root, 'docs/images')
const SIZE = options.phone ? { width: 390, height: 844 } : { width: 1280, height: 800 }
/** How long plots take to be drawn once their data are there. */
const DRAWN_MS = 700

function chromiumPath() {
  try {
    return execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim()
  } catch {
    throw new Error('Chromium is not on the PATH: apt-get install chromium, then run this again.')
  }
}

/** A node in `folder` with ports that the kernel picks; resolves with where it listens. */
function startNode(folder) {
  const any = '127.0.0.1:0'
  const ports = ['--otlp-grpc', any, '--otlp-http', any, '--http', any, '--flight', any]
  const args = ['dist/cli/main.js', 'serve', '--data-dir', folder, ...ports, '--cluster', 'off']
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'pipe'] })
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (!line.includes('"ready"')) return
      resolve({ child, addresses: JSON.parse(line).addresses })
    })
    child.once('exit', (code) => reject(new Error(`the node ended with ${code}`)))
  })
}

async function views(http) {
  const ask = async (query) => {
    const response = await fetch(`${http}/api/v1/sql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, format: 'json' }),
    })
    return (await response.json()).rows
  }
  const failed = "status_code = 2 AND name LIKE 'charge%'"
  const [{ trace_id: id, span_id: span }] = await ask(
    `SELECT trace_id, span_id FROM spans WHERE ${failed} ORDER BY duration_ns DESC LIMIT 1`,
  )
  const [{ trace_id: other }] = await ask(
    "SELECT trace_id FROM spans WHERE name = 'charge card' ORDER BY duration_ns LIMIT 1",
  )
  const sql = `SELECT date_bin(INTERVAL '2 seconds', start_time) AS time, service_name,
  approx_percentile_cont(duration_ns, 0.95) / 1e6 AS p95_ms
FROM spans GROUP BY 1, 2 ORDER BY 1`
  const from = 'from=now-2m'
  return [
    ['traces', `#/traces?${from}`],
    ['differs', `#/traces?${from}&tab=differs`],
    ['trace', `#/trace/${id}?span=${span}`],
    ['flame', `#/trace/${id}?tab=flame`],
    ['compare', `#/trace/${id}?tab=compare&with=${other}`],
    ['services', `#/services?${from}`],
    ['map', `#/services?${from}&tab=map`],
    ['logs', `#/logs?${from}`],
    ['metrics', `#/metrics?${from}&name=shop.orders&kind=sum&fn=value&by=shop.country`],
    ['sql', `#/sql?${new URLSearchParams({ sql, tab: 'plot' })}`],
    ['system', '#/system'],
  ]
}

const folder = mkdtempSync(join(tmpdir(), 'otlake-screenshots-'))
const { child, addresses } = await startNode(folder)
const browser = await chromium.launch({
  executablePath: chromiumPath(),
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
})
try {
  const http = `http://${addresses.http}`
  await sendShopTelemetry(`http://${addresses.otlpHttp}`, ORDERS)
  mkdirSync(into, { recursive: true })
  for (const [name, hash] of await views(http)) {
    if (only && !only.includes(name)) continue
    for (const colorScheme of ['light', 'dark']) {
      const context = await browser.newContext({ viewport: SIZE, colorScheme, timezoneId: 'UTC' })
      const page = await context.newPage()
      await page.goto(`${http}/${hash}`)
      await page.locator('main h1').first().waitFor({ state: 'attached' })
      await page.waitForFunction(() => !/Loading …/.test(document.body.textContent))
      // Its figures are of what comes between two readings.
      if (name === 'system') await sendShopTelemetry(`http://${addresses.otlpHttp}`, 20)
      await page.waitForTimeout(name === 'system' ? 10 * DRAWN_MS : DRAWN_MS)
      const path = join(into, `page-${name}-${colorScheme}.png`)
      await page.screenshot({ path })
      console.log(path)
      await context.close()
    }
  }
} finally {
  await browser.close()
  child.removeAllListeners('exit')
  child.kill('SIGTERM')
  await new Promise((resolve) => child.once('exit', resolve))
  rmSync(folder, { recursive: true, force: true })
}
