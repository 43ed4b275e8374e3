/** Where the tables are: a folder, a bucket of an S3-compatible store, or the nodes' own disks. */

import { resolve } from 'node:path'
import { z } from 'zod'
import type { StoreConfig } from '../native/binding.js'
import { flag, invalid, type Setting } from './setting-schemas.js'

const SCHEME = 's3://'
/** What stands for the nodes' own disks. */
const NODES = 'cluster'

/** The settings, by their paths. */
export const STORAGE_SETTINGS: Record<string, Setting> = {
  'storage.tables': {
    about:
      "Folder of the tables, or `s3://bucket/prefix`, one for all nodes of a cluster; or `cluster`: copies on its nodes' own disks; default: `cluster` in a cluster, else `tables` in `data_dir`",
    schema: z.string(),
    default: '',
  },
  'storage.s3.endpoint': {
    about: 'URL of an S3-compatible store that is not AWS; default: `AWS_ENDPOINT_URL`, then AWS',
    schema: z
      .string()
      .refine((text) => text === '' || isHttp(text), 'is a URL, such as `https://s3.example.org`'),
    default: '',
  },
  'storage.s3.region': {
    about: "The bucket's region; default: `AWS_REGION`, then `us-east-1`",
    schema: z.string(),
    default: '',
  },
  'storage.s3.allow_http': {
    about: 'Whether the store may be reached without TLS',
    schema: flag,
    default: false,
  },
  'storage.s3.access_key_id': {
    about: 'An access key; default: the AWS variables, then what AWS gives the machine',
    schema: z.string(),
    default: '',
  },
  'storage.s3.secret_access_key': {
    about: 'The secret of that key',
    schema: z.string(),
    default: '',
  },
}

/** Whether tables are in a bucket and not in a folder. */
export function isBucket(tables: string): boolean {
  return tables.startsWith(SCHEME)
}

/** Whether tables of a cluster are on its nodes' own disks. */
export function areOnNodes(tables: string): boolean {
  return tables === '' || tables === NODES
}

/**
 * Where the tables are; both null: in the data folder, or in a cluster on the nodes' own disks. Throws
 * `CONFIG_INVALID`.
 */
export function storageConfig(
  get: <T>(path: string) => T,
  isInCluster: boolean,
): {
  tablesDir: string | null
  store: StoreConfig | null
  nodesKeepFiles: boolean
} {
  const tables = get<string>('storage.tables')
  if (tables === NODES && !isInCluster) {
    throw invalid(
      'storage.tables',
      'only a cluster has tables on its nodes; give it --join, or for a folder of this name ./cluster',
    )
  }
  if (areOnNodes(tables)) {
    return { tablesDir: null, store: null, nodesKeepFiles: isInCluster }
  }
  if (!isBucket(tables)) {
    const [, scheme] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(tables) ?? []
    if (scheme !== undefined) {
      throw invalid(
        'storage.tables',
        `there is no ${scheme}://; give a folder or s3://bucket/prefix`,
      )
    }
    return { tablesDir: resolve(tables), store: null, nodesKeepFiles: false }
  }
  const text = (name: string) => get<string>(`storage.s3.${name}`) || null
  const store: StoreConfig = {
    url: tables,
    endpoint: text('endpoint'),
    region: text('region'),
    allowHttp: get('storage.s3.allow_http'),
    accessKeyId: text('access_key_id'),
    secretAccessKey: text('secret_access_key'),
  }
  if ((store.accessKeyId === null) !== (store.secretAccessKey === null)) {
    const missing = store.accessKeyId === null ? 'access_key_id' : 'secret_access_key'
    throw invalid(`storage.s3.${missing}`, 'a key has an id and a secret; give both, or neither')
  }
  if (store.endpoint?.startsWith('http:') && !store.allowHttp) {
    throw invalid(
      'storage.s3.allow_http',
      `${store.endpoint} is without TLS; set this to true if the network is one that nobody else reads`,
    )
  }
  return { tablesDir: null, store, nodesKeepFiles: false }
}

function isHttp(text: string): boolean {
  try {
    return ['http:', 'https:'].includes(new URL(text).protocol)
  } catch {
    return false
  }
}
