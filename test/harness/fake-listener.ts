import type { ExecutionContext } from 'ava'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { type Caller, fleetCaller, ROLES, type Role } from '../../control-plane/core/caller.ts'
import type { Core } from '../../control-plane/core/core.ts'
import { type Credentials, type Shown, shownSecret } from '../../control-plane/core/credentials.ts'
import { createDialects } from '../../control-plane/dialects.ts'
import type { ForeignTokens } from '../../control-plane/http/auth.ts'
import type { Forwarder } from '../../control-plane/http/forward.ts'
import type { TrustedNetwork } from '../../control-plane/http/networks.ts'
import type { CertificateHeader } from '../../control-plane/http/proxied-certificate.ts'
import type { Dialect } from '../../control-plane/http/route.ts'
import { createHttp } from '../../control-plane/http/server.ts'
import type { TlsFiles } from '../../control-plane/http/tls.ts'
import { FleetError } from '../../shared/errors.ts'
import { createFakeCore } from './fake-core.ts'
import { createFakeKeys } from './fake-keys.ts'

export const READY = { postgres: true, nats: true, ingest: true }

interface ListenerOptions {
  readonly trustedNetworks?: readonly TrustedNetwork[]
  readonly allowedHosts?: readonly string[]
  readonly proxies?: readonly string[]
  readonly extraDialect?: Dialect
  readonly tls?: TlsFiles
  readonly certificateHeader?: CertificateHeader
  /** What is real of core. */
  readonly core?: Partial<Core>
  readonly credentials?: Credentials
  readonly foreignTokens?: ForeignTokens
  /** Made with the fake credentials. */
  readonly forwarder?: (credentials: Credentials) => Forwarder
}

/** Tokens of the fake listener: `viewer-token`, `operator-token`, `admin-token` over the fleet; `tenant-token` for one group. */
const CALLERS: ReadonlyMap<string, Caller> = new Map(
  ROLES.map((role) => [
    shownSecret('token', `${role}-token`).id,
    fleetCaller({ subject: `test-${role}`, role, via: 'token' }),
  ]),
)

const TENANT: Caller = { ...fleetCaller({ subject: 'test-tenant', role: 'operator', via: 'token' }), fleetRole: null }
/** Whoever shows a certificate with this subject. */
const ALICE = fleetCaller({ subject: 'test-alice', role: 'viewer', via: 'certificate' })

function callerOf(shown: Shown): Caller | undefined {
  if (shown.kind === 'network') return fleetCaller({ subject: `network:${shown.id}`, role: shown.role, via: 'network' })
  if (shown.kind === 'certificate') return shown.names.includes('subject:CN=alice,O=example') ? ALICE : undefined
  return shown.id === shownSecret('token', 'tenant-token').id ? TENANT : CALLERS.get(shown.id)
}

/** `revoke` makes every credential unknown from then on. */
function createFakeCredentials(): Credentials & { revoke(): void } {
  const listeners = new Set<() => void>()
  let revoked = false
  return {
    async find(shown) {
      const caller = callerOf(shown)
      if (caller === undefined || revoked) throw new FleetError('unauthorized', 'the credentials are not known')
      return caller
    },
    onChange: (listener) => void listeners.add(listener),
    revoke() {
      revoked = true
      for (const listener of listeners) listener()
    },
  }
}

/** What a test reads of an answer. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests assert on the shape of whatever came back
  readonly json: any
}

/** Every dialect on a real port over the fake core; `ask` sends one request, as admin unless told otherwise. */
export async function startListener(t: ExecutionContext, options: ListenerOptions = {}) {
  const { core: fakeCore, fake } = createFakeCore()
  const core: Core = { ...fakeCore, ...options.core }
  const credentials = createFakeCredentials()
  const metrics = new Registry()
  const readiness = { ...READY }
  const lines: Record<string, unknown>[] = []
  const logger = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const dialects = createDialects({ readiness: async () => readiness, metrics })
  const keys = createFakeKeys()
  const http = await createHttp({
    core,
    keys,
    fingerprints: (asked) => [asked.toString()],
    credentials: options.credentials ?? credentials,
    dialects: options.extraDialect ? [options.extraDialect, ...dialects] : dialects,
    trustedNetworks: options.trustedNetworks ?? [],
    allowedHosts: options.allowedHosts ?? [],
    proxies: options.proxies ?? [],
    tls: options.tls,
    certificateHeader: options.certificateHeader,
    foreignTokens: options.foreignTokens,
    forwarder: options.forwarder?.(credentials),
    metrics,
    logger,
  })
  const { port } = await http.listen({ port: 0, bind: '127.0.0.1' })
  t.teardown(() => http.close(100))
  const url = `http://127.0.0.1:${port}`

  async function ask(method: string, path: string, init: AskInit = {}): Promise<Reply> {
    const role = init.as === undefined ? 'admin' : init.as
    const headers = { ...(role === null ? {} : { authorization: `Bearer ${role}-token` }), ...init.headers }
    const body = init.body === undefined || typeof init.body === 'string' ? init.body : JSON.stringify(init.body)
    const response = await fetch(`${url}${path}`, { method, headers, ...(body === undefined ? {} : { body }) })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.startsWith('application/json') && text !== ''
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined }
  }

  return { url, port, ask, fake, keys, core, http, readiness, dialects, lines, credentials }
}

interface AskInit {
  readonly as?: Role | null
  readonly headers?: Record<string, string>
  readonly body?: unknown
}
