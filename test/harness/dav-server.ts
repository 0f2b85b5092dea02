import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { findTool } from '../../deploy/tools.ts'
import { freePort } from './free-port.ts'
import { TestProcess } from './process.ts'
import { listening } from './until.ts'

export const DAV_USER = 'backup'
export const DAV_PASSWORD = 'kä:se'
const MODULES = '/usr/lib/apache2/modules'
/** Debian's www-data. */
const WWW_DATA = 33

/** Why this machine cannot run Apache with mod_dav; undefined when it can. */
export function lacksDav(): string | undefined {
  if (findTool('apache2') === undefined || !existsSync(`${MODULES}/mod_dav_fs.so`)) return 'apache2-bin not installed'
  if (process.geteuid?.() !== 0) return 'apache2 as www-data needs root'
  return findTool('openssl') === undefined ? 'openssl not installed' : undefined
}

/** Apache with mod_dav on two ports, http and https; its certificate is signed by an authority of its own. */
export class DavServer {
  readonly port: number
  readonly tlsPort: number
  /** What the server gives out, on this machine's disk. */
  readonly root: string
  /** PEM of the authority. */
  readonly ca: string
  readonly #process: TestProcess

  private constructor(parts: { port: number; tlsPort: number; root: string; ca: string; process: TestProcess }) {
    this.port = parts.port
    this.tlsPort = parts.tlsPort
    this.root = parts.root
    this.ca = parts.ca
    this.#process = parts.process
  }

  /** @param root a directory to give out, `folder`/root when undefined */
  static async start(folder: string, root = join(folder, 'root')): Promise<DavServer> {
    const [port, tlsPort] = [await freePort(), await freePort()]
    mkdirSync(root, { recursive: true })
    mkdirSync(join(folder, 'locks'), { recursive: true })
    for (const path of [root, join(folder, 'locks')]) chownSync(path, WWW_DATA, WWW_DATA)
    const ca = certificates(folder)
    const sum = createHash('sha1').update(DAV_PASSWORD).digest('base64')
    writeFileSync(join(folder, 'users'), `${DAV_USER}:{SHA}${sum}\n`)
    writeFileSync(join(folder, 'apache.conf'), config({ folder, root, port, tlsPort }))
    execFileSync('/bin/chmod', ['a+rx', folder, dirname(root)])
    const process = new TestProcess({
      name: 'apache2',
      command: findTool('apache2') ?? '',
      args: ['-f', join(folder, 'apache.conf'), '-DFOREGROUND'],
      environment: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      workingDirectory: folder,
      logPath: join(folder, 'apache.out'),
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 5_000,
    })
    const server = new DavServer({ port, tlsPort, root, ca, process })
    await server.resume()
    return server
  }

  async resume(): Promise<void> {
    this.#process.start()
    await listening(this.port)
  }

  /** The whole process group: workers too. */
  async kill(): Promise<void> {
    const { pid } = this.#process
    const gone = this.#process.signal('SIGKILL')
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // it has ended already
    }
    await gone
  }
}

function certificates(folder: string): string {
  const openssl = (...args: readonly string[]) =>
    execFileSync('/usr/bin/openssl', args, { cwd: folder, stdio: 'pipe' }).toString()
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Test authority')
  openssl('req', ...key.slice(0, -2), '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=dav.test')
  writeFileSync(join(folder, 'names'), 'subjectAltName=IP:127.0.0.1,DNS:dav.test\n')
  const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'names']
  openssl('x509', '-req', '-in', 'server.csr', ...signed, '-out', 'server.pem')
  return openssl('x509', '-in', 'ca.pem')
}

function config(place: { folder: string; root: string; port: number; tlsPort: number }): string {
  const modules = [
    'mpm_event',
    'authn_core',
    'authn_file',
    'authz_core',
    'authz_user',
    'auth_basic',
    'dav',
    'dav_fs',
    'ssl',
  ]
  const { folder, root, port, tlsPort } = place
  return `${modules.map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join('\n')}
ServerRoot ${folder}
ServerName dav.test
PidFile ${folder}/apache.pid
ErrorLog ${folder}/error.log
User www-data
Group www-data
Listen 127.0.0.1:${port}
Listen 127.0.0.1:${tlsPort}
DocumentRoot ${root}
DavLockDB ${folder}/locks/db
StartServers 1
ThreadsPerChild 25
MaxRequestWorkers 50
<Directory ${root}>
  Dav On
  # As of servers that are made for large files; unless said it is 1 GiB.
  LimitRequestBody 0
  DavDepthInfinity Off
  AuthType Basic
  AuthName test
  AuthUserFile ${folder}/users
  Require valid-user
</Directory>
<VirtualHost 127.0.0.1:${tlsPort}>
  SSLEngine on
  SSLCertificateFile ${folder}/server.pem
  SSLCertificateKeyFile ${folder}/server.key
</VirtualHost>
`
}
