import { chownSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { openTarget, readHostKey } from '../../agent/transfer/open-target.ts'
import {
  S3TargetConfig,
  SftpTargetConfig,
  type TargetConfig,
  type TargetSecret,
  WebdavTargetConfig,
} from '../../shared/target-config.ts'
import { DAV_PASSWORD, DAV_USER, DavServer, lacksDav } from '../../test/harness/dav-server.ts'
import { lacksSsh, SshServer } from '../../test/harness/ssh-server.ts'
import { lacksSwift, S3_ACCOUNT, SwiftServer } from '../../test/harness/swift-server.ts'
import type { Workbench } from './workbench.ts'

/** A real server of one protocol on this machine, and its protocol's own client. */
export interface UploadServer {
  readonly config: TargetConfig
  readonly secret: TargetSecret
  readonly client: string
  /** Bash: uploads the file `$1` under the name `${UPLOAD}`. */
  readonly put: string
  /** Bash: writes the file of the name `${UPLOAD}` to standard output. */
  readonly get: string
  /** Of the client. */
  readonly environment?: Readonly<Record<string, string>>
  /** Takes it away. */
  remove(): Promise<void>
}

export const LACKS = { sftp: lacksSsh, webdav: lacksDav, s3: lacksS3 }
export const UPLOAD = 'upload'
/** Debian's www-data. */
const WWW_DATA = 33
const place = (port: number) => ({ host: '127.0.0.1', port, name: 'bench' })

async function sftp(workbench: Workbench, folder: string): Promise<UploadServer> {
  const server = await SshServer.start(folder)
  workbench.defer(() => server.kill())
  const root = join(folder, 'root')
  mkdirSync(root)
  const asked = { protocol: 'sftp', ...place(server.port), base: root, username: 'root' }
  const context = { backupRoot: '/', addresses: { allowLoopback: true, listeners: [] } }
  const hostKey = await readHostKey(SftpTargetConfig.parse(asked), context, new AbortController().signal)
  const trust = '-oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR'
  const login = `${trust} -i ${server.privateKeyPath}`
  return {
    config: SftpTargetConfig.parse({ ...asked, hostKey }),
    secret: { privateKey: server.privateKey },
    // `-f` has it on the server's disk, as ours is.
    client: 'sftp -f',
    put: `echo "put $1 ${root}/${UPLOAD}" | /usr/bin/sftp -q -f -b - -P ${server.port} ${login} root@127.0.0.1 >/dev/null`,
    get: `/usr/bin/ssh -p ${server.port} ${login} root@127.0.0.1 cat "${root}/${UPLOAD}"`,
    remove: async () => rmSync(join(root, UPLOAD)),
  }
}

async function webdav(workbench: Workbench, folder: string): Promise<UploadServer> {
  const server = await DavServer.start(folder)
  workbench.defer(() => server.kill())
  const base = join(server.root, 'base')
  mkdirSync(base)
  chownSync(base, WWW_DATA, WWW_DATA)
  const asked = { protocol: 'webdav', ...place(server.port), encrypt: false, base: '/base', username: DAV_USER }
  const curl = `/usr/bin/curl -sSf -u '${DAV_USER}:${DAV_PASSWORD}'`
  const url = `http://127.0.0.1:${server.port}/base/${UPLOAD}`
  return {
    config: WebdavTargetConfig.parse(asked),
    secret: { password: DAV_PASSWORD },
    client: 'curl -T',
    put: `${curl} -o /dev/null -T "$1" "${url}"`,
    get: `${curl} "${url}"`,
    remove: async () => rmSync(join(base, UPLOAD)),
  }
}

async function s3(workbench: Workbench, folder: string): Promise<UploadServer> {
  const server = await SwiftServer.start(folder)
  workbench.defer(() => server.stop())
  await server.makeBucket('bucket')
  const { accessKeyId, secretAccessKey, region } = S3_ACCOUNT
  const asked = {
    protocol: 's3',
    ...place(server.port),
    encrypt: false,
    pathStyle: true,
    bucket: 'bucket',
    accessKeyId,
  }
  const config = S3TargetConfig.parse({ ...asked, base: '/', region })
  const secret = { password: secretAccessKey }
  const environment = {
    ...{ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_DEFAULT_REGION: region },
    ...{ PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? folder },
  }
  return {
    ...{ config, secret, environment, ...s3Client(server.port) },
    async remove() {
      await using target = await openTarget(config, secret, {
        backupRoot: '/',
        addresses: { allowLoopback: true, listeners: [] },
      })
      await target.remove(UPLOAD, { signal: new AbortController().signal })
    },
  }
}

/** The vendor's own client where it is installed, else rclone; neither sends what it has not hashed, as we do not. */
function s3Client(port: number): Pick<UploadServer, 'client' | 'put' | 'get'> {
  const url = `http://127.0.0.1:${port}`
  if (isInstalled('aws')) {
    const aws = `aws --endpoint-url ${url} s3 cp --quiet`
    return { client: 'aws s3 cp', put: `${aws} "$1" s3://bucket/${UPLOAD}`, get: `${aws} s3://bucket/${UPLOAD} -` }
  }
  const flags = `--config /dev/null --s3-provider Other --s3-endpoint ${url} --s3-env-auth --s3-no-check-bucket`
  const rclone = `rclone -q ${flags}`
  const remote = `:s3:bucket/${UPLOAD}`
  return { client: 'rclone', put: `${rclone} copyto "$1" ${remote}`, get: `${rclone} cat ${remote}` }
}

function lacksS3(): string | undefined {
  return (
    lacksSwift() ?? (isInstalled('aws') || isInstalled('rclone') ? undefined : 'neither aws nor rclone is installed')
  )
}

/** Not only where the system's tools are. */
function isInstalled(name: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, name)))
}

/** With its files on this machine's disk, below the workbench. */
export function openUploadServer(workbench: Workbench, protocol: keyof typeof LACKS): Promise<UploadServer> {
  const folder = join(workbench.folder, protocol)
  mkdirSync(folder)
  return { sftp, webdav, s3 }[protocol](workbench, folder)
}
