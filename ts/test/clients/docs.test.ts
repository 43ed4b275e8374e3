/** docs/clients.md shows the programs that the tests run, with the versions that are pinned. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')

const page = read('docs/clients.md')

test('each program of docs/clients.md is the file that it names', () => {
  const blocks = [...page.matchAll(/<!-- (clients\/\S+) -->\n```\w+\n([\s\S]*?)```\n/g)]
  expect(blocks).toHaveLength(page.match(/<!-- clients\//g)?.length ?? 0)
  expect(blocks.length).toBeGreaterThan(0)
  for (const [, path = '', text] of blocks) expect(text, path).toBe(read(path))
})

test('docs/clients.md names the pinned versions', () => {
  const pin = (path: string, pattern: RegExp) => {
    const version = pattern.exec(read(path))?.[1]
    expect(version, `${path}: ${pattern}`).toBeDefined()
    expect(page).toContain(version)
  }
  const packages = ['opentelemetry-sdk', 'adbc-driver-flightsql']
  for (const name of [...packages, 'deltalake', 'duckdb', 'pyarrow', 'polars']) {
    pin('clients/python/requirements.txt', new RegExp(`^${name}==(\\S+)$`, 'm'))
  }
  pin('clients/java/pom.xml', /<opentelemetry.version>(.+)</)
  pin('clients/java/pom.xml', /<artifactId>flight-sql-jdbc-driver<\/artifactId>\s*<version>(.+)</)
  pin('clients/go/go.mod', /go.opentelemetry.io\/otel v(\S+)/)
  pin('clients/go/go.mod', /otlploggrpc v(\S+)/)
  pin('clients/collector/go.mod', /go.opentelemetry.io\/collector\/otelcol v(\S+)/)
  pin('clients/telemetrygen/go.mod', /cmd\/telemetrygen v(\S+)/)
  pin('clients/jaeger/go.mod', /jaegertracing\/jaeger v(\S+)/)
  pin('clients/tempo/go.mod', /grafana\/tempo v(\S+)-/)
  pin('package.json', /"@opentelemetry\/sdk-trace-base": "(.+)"/)
  pin('package.json', /"@opentelemetry\/exporter-trace-otlp-proto": "(.+)"/)
})
