/** The page at `/`: where to send, how to ask. It needs nothing from anywhere else. */

import type { Route } from './answers.js'

export interface Addresses {
  otlpGrpc: string | null
  otlpHttp: string | null
  http: string | null
  flight: string | null
  cluster: string | null
}

/** The page with the addresses of the running node. */
export function pageRoute(addresses: () => Addresses, version: string): Route {
  return {
    method: 'GET',
    path: '/',
    async answer(_request, response) {
      response.head(200, {
        'content-type': 'text/html; charset=utf-8',
        'content-security-policy':
          "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
      })
      response.end(page(addresses(), version))
    },
  }
}

function page(at: Addresses, version: string): string {
  const rows = [
    ['OTLP/gRPC', at.otlpGrpc],
    ['OTLP/HTTP', at.otlpHttp && `http://${at.otlpHttp}`],
    ['SQL, traces, health, metrics', at.http && `http://${at.http}`],
    ['Grafana, data source Tempo', at.http && `http://${at.http}/tempo`],
    ['Grafana, data source Jaeger', at.http && `http://${at.http}/jaeger`],
    ['Arrow Flight SQL', at.flight && `grpc://${at.flight}`],
  ]
  const table = rows
    .map(
      ([name, address]) =>
        `<tr><th scope="row">${name}</th><td><code>${address ?? 'off'}</code></td></tr>`,
    )
    .join('')
  const curl = `curl -s http://${at.http}/api/v1/sql -H 'content-type: application/json' \\
     -d '{"query": "SELECT service_name, count(*) FROM spans GROUP BY 1"}'`
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>otlake</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
  th { text-align: left; padding-right: 2rem; font-weight: 600 }
  pre { padding: 1rem; overflow-x: auto; border: 1px solid; border-radius: 6px }
</style>
<h1>otlake ${version}</h1>
<table>${table}</table>
<h2>Send</h2>
<pre>export OTEL_EXPORTER_OTLP_ENDPOINT=http://${at.otlpHttp}
export OTEL_SERVICE_NAME=my-service
node --import @opentelemetry/auto-instrumentations-node/register app.js</pre>
<h2>Ask</h2>
<pre>npx otlake query "SELECT service_name, name, count(*) FROM spans GROUP BY 1, 2"
${curl}</pre>
<p><a href="/health">health</a> · <a href="/metrics">metrics</a> · <a href="/api/v1/stats">stats</a></p>
</html>
`
}
