import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { jwtAuthenticator, type NatsConnection } from 'nats'
import { createAuthority, newAuthority, readAuthority } from '../../control-plane/hosts/authority.ts'
import { connectNats } from '../../control-plane/nats.ts'
import { preparePrivateNats } from '../../deploy/nats.ts'
import { findTool } from '../../deploy/tools.ts'
import { createTestDatabase, prepareOwnPostgres } from './postgres.ts'
import { TestProcess } from './process.ts'

const READY_MS = 60_000

export interface Backends {
  /** A directory of this test's own, removed at its end. */
  readonly folder: string
  readonly databaseUrl: string
  readonly natsUrl: string
  /** By which control planes let agents in. */
  readonly authorityFile: string
  /** With `natsTls`: what a client needs. */
  readonly tls: TlsFiles | undefined
  /** What every control plane of this test seals secrets with. */
  readonly secretsKey: string
  /** Where it was asked for: else the server is others', too. */
  readonly postgres: TestProcess | undefined
  readonly nats: TestProcess
  /** Starts NATS or its own Postgres again after a test killed it, and waits until it answers. */
  restart(which: 'postgres' | 'nats'): Promise<void>
  readonly natsStore: string
}

/** PEM files. */
export interface TlsFiles {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** A database of Postgres and a nats-server of this test's own, real and empty, gone when it ends. */
export async function startBackends(
  t: Pick<ExecutionContext, 'teardown'>,
  options: {
    /** Makes NATS speak TLS only: its certificate is for 127.0.0.1, and clients must show one too. */
    readonly natsTls?: boolean | undefined
    /** A server of Postgres of its own, in `postgres` of the test's directory: for who kills it, or looks into its files. */
    readonly ownPostgres?: boolean | undefined
  } = {},
): Promise<Backends> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-'))
  const natsFolder = join(folder, 'nats')
  const program = findTool('nats-server')
  if (program === undefined) throw new Error('nats-server is not installed')
  const authorityFile = await makeAuthority(natsFolder)
  const servers = {
    postgres: options.ownPostgres
      ? await prepareOwnPostgres(join(folder, 'postgres'), join(folder, 'postgres.log'))
      : undefined,
    nats: await preparePrivateNats({ program, folder: natsFolder, logPath: join(folder, 'nats.log') }),
  }
  const tls = options.natsTls ? requireTls(folder, servers.nats.spec.args.at(-1) ?? '') : undefined
  const postgres = servers.postgres && new TestProcess(servers.postgres.spec)
  const nats = new TestProcess(servers.nats.spec)
  t.teardown(async () => {
    await Promise.all([nats.signal('SIGKILL'), postgres?.stop()])
    rmSync(folder, { recursive: true, force: true })
  })
  const restart = async (which: 'postgres' | 'nats') => {
    const process = which === 'postgres' ? postgres : nats
    process?.start()
    await servers[which]?.ready(AbortSignal.timeout(READY_MS))
  }
  const [databaseUrl] = await Promise.all([
    servers.postgres?.url ?? createTestDatabase(t),
    restart('postgres'),
    restart('nats'),
  ])
  return {
    folder,
    databaseUrl,
    natsUrl: tls ? servers.nats.url.replace(/^nats:/, 'tls:') : servers.nats.url,
    tls,
    authorityFile,
    secretsKey: randomBytes(32).toString('base64'),
    postgres,
    nats,
    restart,
    natsStore: join(natsFolder, 'jetstream'),
  }
}

/** With all rights that the control plane has. */
export async function connectAsControlPlane(
  t: Pick<ExecutionContext, 'teardown'>,
  { natsUrl: url, authorityFile }: Pick<Backends, 'natsUrl' | 'authorityFile'>,
): Promise<NatsConnection> {
  const { jwt, seed } = await createAuthority(readAuthority(authorityFile)).fleetUser()
  const nats = await connectNats({ url, authenticator: jwtAuthenticator(jwt, seed) })
  t.teardown(() => nats.close())
  return nats
}

/** What `holdfast nats authority` does, without a process of its own. */
export async function makeAuthority(folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { keys, configuration } = await newAuthority()
  writeFileSync(join(folder, 'authority.conf'), configuration, { mode: 0o600 })
  writeFileSync(join(folder, 'authority.json'), JSON.stringify(keys), { mode: 0o600 })
  return join(folder, 'authority.json')
}

/** An authority of this test's own, and one certificate for everybody. */
function requireTls(folder: string, configPath: string): TlsFiles {
  const path = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    path('ca.key'),
    '-out',
    path('ca.pem'),
    '-subj',
    '/CN=test-ca',
    '-days',
    '1',
  )
  openssl('req', ...newKey, '-keyout', path('nats.key'), '-out', path('nats.csr'), '-subj', '/CN=nats')
  writeFileSync(path('san'), 'subjectAltName=IP:127.0.0.1\n')
  openssl(
    ...['x509', '-req', '-in', path('nats.csr'), '-CA', path('ca.pem'), '-CAkey', path('ca.key'), '-CAcreateserial'],
    ...['-days', '1', '-extfile', path('san'), '-out', path('nats.pem')],
  )
  const tls = { ca: path('ca.pem'), cert: path('nats.pem'), key: path('nats.key') }
  appendFileSync(
    configPath,
    `tls: { cert_file: "${tls.cert}", key_file: "${tls.key}", ca_file: "${tls.ca}", verify: true }\n`,
  )
  return tls
}
