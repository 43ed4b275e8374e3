/** Chromium for the tests of the page: Debian's, installed where it is missing and this may do so. */

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import type { AxeResults } from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { ServerProcess } from '../../testing/server.js'

const run = promisify(execFile)
const shell = (script: string) => run('sh', ['-c', script])
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
/** Every rule of WCAG 2.2 A and AA, and what axe-core takes for good practice. */
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

/** Two cores are shared with the node. */
const TIMEOUT_MS = 20_000

let found: Promise<string> | undefined

function executable(): Promise<string> {
  const find = () => shell('command -v chromium').then(({ stdout }) => stdout.trim())
  const get = 'apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium'
  found ??= find()
    .catch(() => shell(`DEBIAN_FRONTEND=noninteractive; ${get}`).then(find))
    .catch((cause) => {
      const fix = 'apt-get install chromium'
      throw new Error(`install Chromium, which the tests of the page need: ${fix}`, { cause })
    })
  return found
}

export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: await executable(),
    // As root, in a container: Chromium's own sandbox cannot be made there.
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  })
}

/** A page that keeps what the browser complained of. */
export interface Watched {
  page: Page
  /** Errors and warnings of the console, and what was thrown. */
  complaints: string[]
  /** Requests to anything but the node. */
  strangers: string[]
}

/** A new page, which knows axe-core without loading it through the node. */
export async function watched(
  browser: Browser,
  server: ServerProcess,
  options: BrowserContextOptions = {},
): Promise<Watched> {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    timezoneId: 'UTC',
    ...options,
  })
  await context.addInitScript({ content: await readFile(AXE, 'utf8') })
  const page = await context.newPage()
  page.setDefaultTimeout(TIMEOUT_MS)
  const complaints: string[] = []
  const strangers: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('request', (request) => {
    const { protocol, host } = new URL(request.url())
    const isOwn = host === server.addresses.http || ['blob:', 'data:'].includes(protocol)
    if (!isOwn) strangers.push(request.url())
  })
  return { page, complaints, strangers }
}

/** Opens a view and waits until nothing loads any more. */
export async function open(page: Page, server: ServerProcess, hash: string): Promise<void> {
  // From elsewhere: another hash alone loads nothing anew.
  await page.goto('about:blank')
  await page.goto(server.url(`/${hash}`))
  await settled(page)
}

export async function settled(page: Page): Promise<void> {
  await page.locator('main').waitFor()
  // The editor comes after the view, in place of a plain field.
  await page.waitForFunction(() => !document.querySelector('.is-busy, .query textarea'))
  await page.waitForFunction(
    () => !/Loading …/.test(document.querySelector('main')?.textContent ?? ''),
  )
}

/** What axe-core finds wrong, each with where; with `colors` of the contrast of colours alone. */
export async function findings(page: Page, only?: 'colors'): Promise<string[]> {
  const wanted = only
    ? { type: 'rule', values: ['color-contrast', 'link-in-text-block'] }
    : { type: 'tag', values: RULES }
  const results = await page.evaluate(async (runOnly) => {
    const { axe } = globalThis as unknown as {
      axe: { run(on: Document, options: unknown): Promise<AxeResults> }
    }
    return axe.run(document, { runOnly })
  }, wanted)
  return results.violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join('; ')}`,
  )
}
