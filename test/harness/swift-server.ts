import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import aws4 from 'aws4'
import { findTool, runTool } from '../../deploy/tools.ts'
import { freePort } from './free-port.ts'
import { seeing } from './own-mounts.ts'
import { TestProcess } from './process.ts'
import { listening } from './until.ts'

const PARTS = ['account', 'container', 'object'] as const
const TOOLS = [...['proxy', ...PARTS].map((part) => `swift-${part}-server`), 'memcached', 'unshare']
/** Keys that one answer lists. */
const LISTING_PAGE = 50
const START_MS = 30_000

export const S3_ACCOUNT = { accessKeyId: 'test:tester', secretAccessKey: 'testing', region: 'us-east-1' }

/** Why this machine cannot run OpenStack Swift; undefined when it can. */
export function lacksSwift(): string | undefined {
  if (process.geteuid?.() !== 0) return 'a private /etc/swift needs root'
  const missing = TOOLS.filter((name) => findTool(name) === undefined)
  return missing.length === 0 ? undefined : `${missing.join(', ')} not installed`
}

/**
 * OpenStack Swift with its own S3 interface (s3api): a real object store of four processes, one copy of everything. It is no AWS:
 * it knows neither `If-None-Match` on a PUT nor virtual hosts here.
 */
export class SwiftServer {
  readonly port: number
  readonly #processes: readonly TestProcess[]

  private constructor(port: number, processes: readonly TestProcess[]) {
    this.port = port
    this.#processes = processes
  }

  static async start(folder: string): Promise<SwiftServer> {
    const names = ['proxy', 'memcached', ...PARTS]
    const ports = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await freePort()] as const)))
    const etc = join(folder, 'etc')
    mkdirSync(join(folder, 'node', 'd1'), { recursive: true })
    mkdirSync(etc)
    writeFileSync(join(etc, 'swift.conf'), '[swift-hash]\nswift_hash_path_suffix = test\n')
    for (const part of PARTS)
      writeFileSync(join(etc, `${part}-server.conf`), storageConfig(part, ports[part] ?? 0, folder))
    writeFileSync(join(etc, 'proxy-server.conf'), proxyConfig(ports.proxy ?? 0, ports.memcached ?? 0))
    writeFileSync(join(etc, 'rings.py'), ringScript(etc, ports))
    await runTool('/usr/bin/python3', [join(etc, 'rings.py')])

    const memory = ['-l', '127.0.0.1', '-p', String(ports.memcached), '-u', 'root', '-m', '16']
    const memcached = { command: tool('memcached'), args: memory }
    const servers = ['proxy', ...PARTS].map((name) =>
      seeing(etc, '/etc/swift', [tool(`swift-${name}-server`), `/etc/swift/${name}-server.conf`]),
    )
    const processes = [memcached, ...servers].map((run, index) => {
      const name = `swift-${index}`
      const spec = { name, ...run, environment: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' } }
      const place = { workingDirectory: folder, logPath: join(folder, `${name}.log`) }
      return new TestProcess({ ...spec, ...place, stopSignal: 'SIGTERM', stopTimeoutMs: 5_000 })
    })
    const server = new SwiftServer(ports.proxy ?? 0, processes)
    await server.resume()
    await Promise.all(Object.values(ports).map((port) => listening(port, START_MS)))
    return server
  }

  async resume(): Promise<void> {
    for (const process of this.#processes) process.start()
  }

  async makeBucket(name: string): Promise<void> {
    await this.#ask('PUT', `/${name}`)
  }

  /** Every key of a bucket. */
  async keys(bucket: string): Promise<readonly string[]> {
    const found: string[] = []
    for (let more = true; more; ) {
      const after = found.at(-1)
      const page = await this.#ask(
        'GET',
        `/${bucket}${after === undefined ? '' : `?marker=${encodeURIComponent(after)}`}`,
      )
      found.push(...[...page.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = '']) => key))
      more = page.includes('<IsTruncated>true')
    }
    return found
  }

  async #ask(method: string, path: string): Promise<string> {
    const host = `127.0.0.1:${this.port}`
    const asked = { service: 's3', region: S3_ACCOUNT.region, method, host, path }
    const { headers = {} } = aws4.sign({ ...asked, headers: { 'X-Amz-Date': undefined } }, S3_ACCOUNT)
    const sent = Object.entries(headers).map(([key, value]) => [key, String(value)] as [string, string])
    const answer = await fetch(`http://${host}${path}`, { method, headers: sent })
    const text = await answer.text()
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 500)}`)
    return text
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.signal('SIGKILL')))
  }

  log(): string {
    return this.#processes.map((process) => process.log()).join('\n')
  }
}

function tool(name: string): string {
  const path = findTool(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  return path
}

/** By default a listing is told of an object later when that takes a second: on a loaded machine what was just written would not be there. */
const PATIENCE = `conn_timeout = 30
node_timeout = 60
container_update_timeout = 60`

function storageConfig(part: string, port: number, folder: string): string {
  return `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
workers = 0
user = root
${PATIENCE}
devices = ${folder}/node
mount_check = false
[pipeline:main]
pipeline = ${part}-server
[app:${part}-server]
use = egg:swift#${part}
`
}

function proxyConfig(port: number, memcachedPort: number): string {
  return `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
workers = 0
user = root
${PATIENCE}
[pipeline:main]
pipeline = catch_errors cache s3api tempauth copy slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${memcachedPort}
[filter:s3api]
use = egg:swift#s3api
location = ${S3_ACCOUNT.region}
max_bucket_listing = ${LISTING_PAGE}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = ${S3_ACCOUNT.secretAccessKey} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
`
}

/** As \`swift-ring-builder\` would make them, without its nine processes. */
function ringScript(etc: string, ports: Readonly<Record<string, number>>): string {
  const lines = PARTS.map((part) => `make('${part}', ${ports[part]})`)
  return `from swift.common.ring import RingBuilder
def make(part, port):
    builder = RingBuilder(2, 1, 1)
    builder.add_dev({'region': 1, 'zone': 1, 'ip': '127.0.0.1', 'port': port, 'replication_ip': '127.0.0.1',
        'replication_port': port, 'device': 'd1', 'weight': 1, 'meta': ''})
    builder.rebalance()
    builder.get_ring().save('${etc}/' + part + '.ring.gz')
${lines.join('\n')}
`
}
