/**
 * Packs what is published into packages/: the main package and a platform's package, each staged
 * in a folder of its own, because what npm gets differs from the checkout. The main package's
 * manifest names the platforms' packages as optional dependencies, and leaves out what only
 * development needs; the platforms' manifests follow from scripts/platforms.mjs.
 *
 *   node scripts/pack.mjs main                                 packages/otlake-<version>.tgz
 *   node scripts/pack.mjs native [--platform NAME]             the module of the published build
 *   node scripts/pack.mjs native --module FILE                 another file, for tests
 *   … [--out FOLDER]                                           in place of packages/
 *
 * Prints one line of JSON per tarball: {name, file, bytes, unpackedBytes}. A module of the published
 * build that scripts/published.mjs does not let pass is refused.
 */

import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { buildUi, PAGE } from './build-ui.mjs'
import { PACKAGES, publishedModule } from './places.mjs'
import { PLATFORMS, packageName, platformManifest, thisPlatform } from './platforms.mjs'
import { checkPublished } from './published.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
/** What users need of the checkout's manifest; scripts and development packages stay behind. */
const PUBLISHED_FIELDS = [
  ...['name', 'version', 'description', 'keywords', 'license', 'type', 'engines', 'bin', 'types'],
  ...[
    'main',
    'exports',
    'typesVersions',
    'files',
    'dependencies',
    'peerDependencies',
    'peerDependenciesMeta',
  ],
]

function checkout() {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: name } = process.env
  // npm compares the repository with the one that a provenance statement was signed for.
  if (server && name) manifest.repository = { type: 'git', url: `git+${server}/${name}.git` }
  return manifest
}

/** An empty folder for one package, with what every package has. */
function stage(folder, manifest) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'))
}

async function stageMain(out) {
  const full = checkout()
  const { repository, version } = full
  const folder = join(out, 'otlake')
  stage(folder, {
    ...Object.fromEntries(
      PUBLISHED_FIELDS.filter((field) => field in full).map((field) => [field, full[field]]),
    ),
    ...(repository ? { repository } : {}),
    optionalDependencies: Object.fromEntries(
      Object.keys(PLATFORMS).map((name) => [packageName(name), version]),
    ),
    publishConfig: { access: 'public' },
  })
  // Compiled afresh: dist/ may still hold what a deleted source was compiled to.
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  const plain = ['--incremental', 'false', '--tsBuildInfoFile', 'null', '--sourceMap', 'false']
  execFileSync(
    process.execPath,
    [compiler, '-p', join(root, 'tsconfig.build.json'), ...plain, '--outDir', join(folder, 'dist')],
    { stdio: ['ignore', 2, 2] },
  )
  await buildUi()
  cpSync(PAGE, join(folder, 'dist/ui'), { recursive: true })
  cpSync(join(root, 'proto'), join(folder, 'proto'), { recursive: true })
  copyFileSync(join(root, 'README.md'), join(folder, 'README.md'))
  return folder
}

function stageNative(out, name, module) {
  const source = module ?? publishedModule(name)
  if (!existsSync(source)) {
    throw new Error(
      `${source} does not exist: run \`node scripts/build-native.mjs --platform ${name}\`.`,
    )
  }
  if (module === undefined) checkPublished(source, name)
  const folder = join(out, `native-${name}`)
  const manifest = platformManifest(name, checkout())
  stage(folder, manifest)
  copyFileSync(source, join(folder, manifest.main))
  writeFileSync(
    join(folder, 'README.md'),
    `# ${manifest.name}\n\n${manifest.description} It is installed with [otlake](https://www.npmjs.com/package/otlake).\n`,
  )
  return folder
}

/** Makes the tarball of a staged folder. */
function pack(folder, out) {
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
  const shell = process.platform === 'win32'
  const options = [
    'pack',
    '--json',
    '--ignore-scripts',
    '--loglevel=error',
    '--pack-destination',
    out,
  ]
  const text = execFileSync(npm, options, {
    ...{ cwd: folder, shell, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
    maxBuffer: 64 * 1024 * 1024,
  })
  const [{ name, filename, size, unpackedSize }] = JSON.parse(text)
  // npm 9 and later write the scope into the file's name with a dash; `filename` may still have it.
  const file = join(out, filename.replace(/^@/, '').replace('/', '-'))
  return { name, file, bytes: size, unpackedBytes: unpackedSize }
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      platform: { type: 'string' },
      module: { type: 'string' },
      out: { type: 'string' },
    },
  })
  const out = resolve(values.out ?? PACKAGES)
  const what = positionals[0]
  if (positionals.length !== 1 || (what !== 'main' && what !== 'native')) {
    throw new Error('Name `main` or `native`.')
  }
  const folder =
    what === 'main'
      ? await stageMain(out)
      : stageNative(out, values.platform ?? thisPlatform(), values.module)
  console.log(JSON.stringify(pack(folder, out)))
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
