import { chownSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DAV_PASSWORD, DAV_USER, DavServer, lacksDav } from './dav-server.ts'
import { FaultProxy } from './fault-proxy.ts'
import { temporaryDirectory } from './loop-mount.ts'
import type { FileScope } from './shared-fleet.ts'
import { lacksSsh, SSH_PASSWORD, SshServer } from './ssh-server.ts'
import { lacksSwift, S3_ACCOUNT, SwiftServer } from './swift-server.ts'

/** A real server of one protocol, behind a proxy that breaks what it is told to. */
export interface Vault {
  readonly protocol: 'sftp' | 'webdav' | 's3'
  readonly proxy: FaultProxy
  /** Where its files lie on this machine's disk; undefined where they do not lie there as they are. */
  readonly directory?: string
  /** What a target on it is made of. */
  readonly body: Readonly<Record<string, unknown>>
  readonly wrongSecret: Readonly<Record<string, unknown>>
  readonly rightSecret: Readonly<Record<string, unknown>>
  kill(): Promise<void>
  /** From its next start on it proves itself with another key; only of those whose key is pinned. */
  changeKey?(): void
  resume(): Promise<void>
  /** Every file that lies there, as the server itself tells, not we. */
  files(): Promise<readonly string[]>
}

type Opened = Omit<Vault, 'proxy' | 'body' | 'protocol'> & { readonly port: number; readonly body: object }

const OPENERS: Readonly<Record<Vault['protocol'], (folder: string) => Promise<Opened>>> = {
  sftp: openSftp,
  webdav: openWebdav,
  s3: openS3,
}

/** Why this machine cannot run one; undefined when it can. */
export const LACKS: Readonly<Record<Vault['protocol'], () => string | undefined>> = {
  sftp: lacksSsh,
  webdav: lacksDav,
  s3: lacksSwift,
}

/** Gone with `scope`. */
export async function openVault(scope: FileScope, protocol: Vault['protocol']): Promise<Vault> {
  const { port, body, ...server } = await OPENERS[protocol](temporaryDirectory(scope))
  scope.teardown(() => server.kill())
  const proxy = await FaultProxy.start(port)
  scope.teardown(() => proxy.close())
  return {
    ...server,
    protocol,
    proxy,
    body: { protocol, name: protocol, host: '127.0.0.1', port: proxy.port, ...body, ...server.rightSecret },
  }
}

const filesBelow = async (root: string) =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))

async function openSftp(folder: string): Promise<Opened> {
  const server = await SshServer.start(folder)
  const root = join(folder, 'root')
  mkdirSync(root)
  return {
    port: server.port,
    body: { base: root, username: 'root' },
    rightSecret: { password: SSH_PASSWORD },
    wrongSecret: { password: 'wrong' },
    kill: () => server.kill(),
    changeKey: () => server.changeHostKey(),
    resume: () => server.resume(),
    directory: root,
    files: () => filesBelow(root),
  }
}

async function openWebdav(folder: string): Promise<Opened> {
  const server = await DavServer.start(folder)
  const base = join(server.root, 'vault')
  mkdirSync(base)
  chownSync(base, WWW_DATA, WWW_DATA)
  return {
    port: server.port,
    body: { base: '/vault', username: DAV_USER, encrypt: false },
    rightSecret: { password: DAV_PASSWORD },
    wrongSecret: { password: 'wrong' },
    kill: () => server.kill(),
    resume: () => server.resume(),
    directory: base,
    files: async () => (await filesBelow(base)).filter((path) => !path.includes('.DAV/')),
  }
}
/** Debian's www-data. */
const WWW_DATA = 33

async function openS3(folder: string): Promise<Opened> {
  const server = await SwiftServer.start(folder)
  await server.makeBucket('bucket')
  return {
    port: server.port,
    body: {
      ...{ bucket: 'bucket', base: '/fleet', access_key_id: S3_ACCOUNT.accessKeyId, region: S3_ACCOUNT.region },
      ...{ path_style: true, encrypt: false },
    },
    rightSecret: { password: S3_ACCOUNT.secretAccessKey },
    wrongSecret: { password: 'wrong' },
    kill: () => server.stop(),
    resume: () => server.resume(),
    files: () => server.keys('bucket'),
  }
}
