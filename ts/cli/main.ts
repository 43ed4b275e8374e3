#!/usr/bin/env node
/**
 * The command line. Exit codes: 0 done, 1 failed, 2 the command or the configuration is wrong,
 * 3 no node answers.
 */

import { createWriteStream } from 'node:fs'
import { Writable } from 'node:stream'
import { Argument, Command, CommanderError, Option } from 'commander'
import { OtlakeError } from '../base/errors.js'
import { packageVersion } from '../native/binding.js'
import { loadConfig, type Raw } from '../node/config.js'
import { type ClientOptions, call, DEFAULT_URL } from './client.js'
import { clusterCommands } from './cluster.js'
import { type Control, control, DEFAULT_CONTROL } from './control.js'
import { listJobs, runJob } from './job.js'
import { settingsMarkdown, settingsText } from './settings.js'
import { formatTable } from './table.js'
import { dim, red } from './terminal.js'
import { formatTrace, type OtlpTrace } from './trace.js'

/** Builds the commands; `exit` gets the exit code of the one that ran. */
export function program(exit: (code: number) => void): Command {
  const otlake = new Command('otlake')
    .description('A telemetry database that speaks OTLP.')
    .version(packageVersion())
    .showHelpAfterError('(otlake <command> --help tells more)')
    .exitOverride()
    .addHelpText(
      'after',
      `
Start here:
  otlake demo                                 real telemetry, a few questions answered
  otlake serve --data-dir ./data              a node on ports 4317 to 4321
  otlake query "SELECT count(*) FROM spans"   ask it

Exit codes: 0 done, 1 failed, 2 wrong command or configuration, 3 no node answers`,
    )

  otlake
    .command('serve')
    .description('run a node until SIGTERM or Ctrl-C')
    .option('--data-dir <folder>', 'the log and the tables (./otlake-data)')
    .option('--otlp-grpc <address>', 'HOST:PORT or off (127.0.0.1:4317)')
    .option('--otlp-http <address>', 'HOST:PORT or off (127.0.0.1:4318)')
    .option('--http <address>', 'HOST:PORT or off (127.0.0.1:4319)')
    .option('--flight <address>', 'HOST:PORT or off (127.0.0.1:4320)')
    .option('--cluster <address>', 'HOST:PORT or off (127.0.0.1:4321)')
    .option('--join <addresses>', 'nodes of a cluster to join, HOST:PORT[,HOST:PORT…]')
    .option('--bootstrap', 'begin a cluster where the data folder has none')
    .option('--peer <address>', 'HOST:PORT for the other nodes (host of --cluster, port 4322)')
    .option('--advertise <address>', 'IP[:PORT] that other nodes reach --cluster at')
    .option(
      '--tables <place>',
      "folder or s3://bucket/prefix of the tables, one for all nodes (a node's own disk; of a cluster: copies on its nodes)",
    )
    .option('--durability <mode>', 'fsync or relaxed (fsync)')
    .option('--log-level <level>', 'trace, debug, info, warn, error or silent (info)')
    .option('--config <file>', 'settings in YAML; OTLAKE_CONFIG names it, too')
    .option('--set <key=value>', 'any setting of `otlake settings`; repeat for more', gather, [])
    .addHelpText(
      'after',
      `
Examples:
  otlake serve --data-dir /var/lib/otlake --otlp-grpc 0.0.0.0:4317
  otlake serve --set flush.interval_ms=2000 --set query.max_rows=1000000
  OTLAKE_DATA_DIR=/data otlake serve --config otlake.yaml
  otlake serve --cluster 10.0.0.1:4321 \\
    --join 10.0.0.1:4321,10.0.0.2:4321,10.0.0.3:4321        the same on three machines: a cluster

A success to an exporter means: on stable storage (docs/durability.md).`,
    )
    .action(async (flags: Record<string, string | boolean | string[]>) => {
      const { serve } = await import('./serve.js')
      exit(await serve(loadConfig(settingSources(flags))))
    })

  otlake
    .command('demo')
    .description('a node in a temporary folder, real telemetry, a few questions answered')
    .option('--once', 'exit after the answers', false)
    .action(async ({ once }: { once: boolean }) => {
      const { demo } = await import('./demo.js')
      exit(await demo({ once }))
    })

  const asking = (name: string, description: string) =>
    otlake
      .command(name)
      .description(description)
      .option(
        '--url <url>',
        "the node's HTTP address, or several with commas",
        process.env.OTLAKE_URL ?? DEFAULT_URL,
      )
      .option('--token <token>', 'a bearer token (OTLAKE_TOKEN)', process.env.OTLAKE_TOKEN)
      .option('--tenant <tenant>', 'whose rows')

  asking('query', 'run one SQL statement')
    .argument('<sql>', 'the statement; $1, $2, … stand for --param values')
    .addOption(
      new Option('--format <format>', 'how to print the rows')
        .choices(['table', 'json', 'ndjson', 'csv', 'arrow', 'parquet', 'otlp', 'otlp-json'])
        .default('table'),
    )
    .addOption(new Option('--consistency <level>', 'how fresh').choices(['strong', 'eventual']))
    .option('--param <value>', 'a value; JSON, or else text; repeat for more', gather, [])
    .option('--output <file>', 'write there instead of stdout')
    .addHelpText(
      'after',
      `
Examples:
  otlake query "SELECT name, count(*) FROM spans GROUP BY name"
  otlake query "SELECT * FROM logs WHERE service_name = \\$1" --param checkout --format csv
  otlake query "SELECT * FROM spans" --format parquet --output spans.parquet`,
    )
    .action(async (sql: string, options: QueryOptions) => {
      await query(sql, options)
      exit(0)
    })

  asking('trace', 'print one trace as a tree')
    .argument('<id>', 'the trace id, 32 hex digits')
    .option('--json', 'as OTLP/JSON', false)
    .action(async (id: string, options: ClientOptions & { json: boolean }) => {
      const response = await call(options, `/api/v1/traces/${encodeURIComponent(id)}`)
      const text = await response.text()
      console.log(options.json ? text : formatTrace(JSON.parse(text) as OtlpTrace))
      exit(0)
    })

  asking('tail', 'follow a table: one JSON object for each new row')
    .argument('[table]', 'spans, logs, metrics_sum, …', 'spans')
    .option('--service <name>', 'rows of this service alone')
    .action(async (table: string, options: ClientOptions & { service?: string }) => {
      const search = new URLSearchParams({ table })
      if (options.service) search.set('service', options.service)
      const response = await call(options, `/api/v1/tail?${search}`)
      await response.body?.pipeTo(toStdout())
      exit(0)
    })

  const job = otlake
    .command('job')
    .description('the regular jobs of a running node: merge files, expire days, free disk')
  const onControl = (command: Command) =>
    command
      .option(
        '--url <address>',
        "the node's control address (OTLAKE_LISTEN_CLUSTER)",
        process.env.OTLAKE_LISTEN_CLUSTER ?? DEFAULT_CONTROL,
      )
      .option('--token <token>', 'a bearer token (OTLAKE_TOKEN)', process.env.OTLAKE_TOKEN)
  onControl(job.command('run').description('run one at once, and tell what it did'))
    .addArgument(new Argument('<job>', 'which').choices(['compact', 'retain', 'vacuum']))
    .addHelpText(
      'after',
      `
Examples:
  otlake job run compact                       merge small files, drop repeated spans
  otlake job run retain                        remove days past retention.*_days
  otlake job run vacuum --url 10.0.0.5:4321    delete what no version names any more

docs/jobs.md tells more.`,
    )
    .action(async (name: string, node: Control) => {
      console.log(await runJob(node, name))
      exit(0)
    })
  onControl(job.command('list').description('when each is due, and how its last run went')).action(
    async (node: Control) => {
      console.log(await listJobs(node))
      exit(0)
    },
  )

  onControl(
    otlake.command('flush').description('write what a running node has acknowledged to files'),
  ).action(async (node: Control) => {
    await control(node, 'Flush', {})
    console.log('everything acknowledged so far is in files')
    exit(0)
  })

  clusterCommands(otlake, onControl, exit)

  onControl(
    otlake
      .command('backup')
      .description('copy a data directory while its node runs, or after it stopped')
      .requiredOption('--data-dir <folder>', 'the data directory')
      .requiredOption('--to <folder>', 'the copy, which must not exist yet')
      .option('--tables <folder>', 'the tables, where `otlake serve` was given them'),
  )
    .addHelpText(
      'after',
      `
The copy is a data directory: \`otlake serve --data-dir <copy>\`.
The node itself is asked where a cluster's nodes keep the tables, and nowhere else (docs/own-disks.md).`,
    )
    .action(async ({ dataDir, to, tables, ...node }: BackupOptions) => {
      const { runBackup } = await import('./backup.js')
      console.log(await runBackup(dataDir, to, tables, node))
      exit(0)
    })

  otlake
    .command('verify')
    .description('check every segment, file and commit of a data folder; exit code 1 on damage')
    .option(
      '--data-dir <folder>',
      'what `otlake serve` was given; a node may be running on it (./otlake-data)',
    )
    .option('--tables <place>', 'the tables, where `otlake serve` was given them')
    .option('--config <file>', 'settings in YAML; OTLAKE_CONFIG names it, too')
    .option('--set <key=value>', 'a setting, such as those of storage.s3', gather, [])
    .option('--json', 'a line of JSON for each file', false)
    .option(
      '--url <address>',
      "a node's control address: where nodes keep the tables, which of them have each file",
    )
    .option('--token <token>', 'a bearer token (OTLAKE_TOKEN)', process.env.OTLAKE_TOKEN)
    .action(async ({ json, url, token, ...flags }: VerifyOptions) => {
      const { runVerify } = await import('./verify.js')
      const { engine } = loadConfig(settingSources(flags))
      const node = url === undefined ? null : { url, token }
      exit(await runVerify(engine.dataDir, engine, { json, node }))
    })

  otlake
    .command('settings')
    .description('list every setting with its default and variable')
    .option('--markdown', 'as docs/settings.md has it', false)
    .action(({ markdown }: { markdown: boolean }) => {
      console.log(markdown ? settingsMarkdown() : settingsText())
      exit(0)
    })
  return otlake
}

interface QueryOptions extends ClientOptions {
  format: string
  consistency?: string
  param: string[]
  output?: string
}

interface BackupOptions extends Control {
  dataDir: string
  to: string
  tables?: string
}

type VerifyOptions = Record<string, string | boolean | string[]> & {
  json: boolean
  url?: string
  token?: string
}

function gather(value: string, before: string[]): string[] {
  return [...before, value]
}

/** What settings come from, on a command line with these flags. */
function settingSources(flags: Record<string, string | boolean | string[]>) {
  const file = (flags.config as string | undefined) ?? process.env.OTLAKE_CONFIG
  return { ...(file ? { file } : {}), env: process.env, flags: rawFlags(flags) }
}

function rawFlags(flags: Record<string, string | boolean | string[]>): Raw {
  const named: Record<string, string> = {
    dataDir: 'data_dir',
    otlpGrpc: 'listen.otlp_grpc',
    otlpHttp: 'listen.otlp_http',
    http: 'listen.http',
    flight: 'listen.flight',
    cluster: 'listen.cluster',
    join: 'cluster.join',
    bootstrap: 'cluster.bootstrap',
    peer: 'listen.peer',
    advertise: 'cluster.advertise',
    tables: 'storage.tables',
    durability: 'durability',
    logLevel: 'log_level',
  }
  const raw: Raw = {}
  for (const pair of (flags.set as string[] | undefined) ?? []) {
    const at = pair.indexOf('=')
    if (at < 1) throw new OtlakeError('CLI_USAGE', `--set takes key=value, not \`${pair}\``)
    raw[pair.slice(0, at)] = pair.slice(at + 1)
  }
  for (const [flag, path] of Object.entries(named)) {
    if (flags[flag] !== undefined) raw[path] = flags[flag]
  }
  return raw
}

async function query(sql: string, options: QueryOptions): Promise<void> {
  const parameters = options.param.map((text) => {
    try {
      return JSON.parse(text) as unknown
    } catch {
      return text
    }
  })
  const format = options.format === 'table' ? 'json' : options.format
  const { consistency } = options
  const response = await call(options, '/api/v1/sql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      query: sql,
      parameters,
      format,
      ...(consistency ? { consistency } : {}),
    }),
  })
  if (options.format === 'table') {
    const { columns, rows } = (await response.json()) as {
      columns: { name: string; type: string }[]
      rows: Record<string, unknown>[]
    }
    console.log(`${formatTable(columns, rows)}\n${dim(`${rows.length} row(s)`)}`)
    return
  }
  const to = options.output ? Writable.toWeb(createWriteStream(options.output)) : toStdout()
  await response.body?.pipeTo(to)
}

/** stdout as a web stream that is not closed at the end. */
function toStdout(): WritableStream<Uint8Array> {
  return new WritableStream({
    write: (chunk) =>
      new Promise((resolve) => {
        if (process.stdout.write(chunk)) resolve()
        else process.stdout.once('drain', resolve)
      }),
  })
}

/** Runs a command line; the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  let code = 0
  try {
    await program((given) => {
      code = given
    }).parseAsync(argv as string[], { from: 'user' })
    return code
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2
    const error = OtlakeError.from(thrown)
    console.error(`${red(error.code)}: ${error.message}\n${error.fix}`)
    if (error.code === 'NODE_UNREACHABLE') return 3
    return error.code.startsWith('CONFIG_') || error.code === 'CLI_USAGE' ? 2 : 1
  }
}

const isMain = process.argv[1] !== undefined && /(^|[/\\])(main\.js|otlake)$/.test(process.argv[1])
if (isMain) {
  process.exitCode = await run(process.argv.slice(2))
  // A stopped node leaves nothing behind; whatever else still runs must not hold the process.
  if (process.stdout.writableLength === 0) process.exit()
}
