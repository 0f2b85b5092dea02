import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Logger } from '../../shared/logger.ts'
import type { FeedSockets } from '../feed/websocket.ts'
import { answerThrown, logThrown } from './failure.ts'
import type { LiveFeed } from './live-feed.ts'
import { type PathEntry, pathEntries } from './paths.ts'
import type { RequestFacts } from './request-facts.ts'
import { splitTarget } from './request-target.ts'
import type { Answer, Dialect, SocketRoute } from './route.ts'

interface UpgradeDeps {
  readonly dialects: readonly Dialect[]
  readonly liveFeed: LiveFeed
  readonly sockets: FeedSockets
  readonly logger: Logger
  readonly requestId: (given: string | string[] | undefined) => string
  readonly observe: (facts: RequestFacts) => void
}

/** A refusal in HTTP, on a connection that Node has already let go of. */
function refuse(connection: Duplex, answer: Answer): void {
  const body = JSON.stringify(answer.body)
  const headers: Record<string, string> = {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(body)),
    Connection: 'close',
    ...answer.headers,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  const head = [`HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? ''}`, ...lines].join('\r\n')
  connection.end(`${head}\r\n\r\n${body}`)
}

/** WebSocket upgrades. Paths without a socket route never come here: Node treats those requests as plain ones. */
export function createUpgrades(deps: UpgradeDeps) {
  const bySocketPath = new Map<string, { entry: PathEntry; route: SocketRoute }>()
  for (const entry of pathEntries(deps.dialects)) {
    if (entry.socket) bySocketPath.set(entry.path, { entry, route: entry.socket })
  }

  function find(request: IncomingMessage) {
    return bySocketPath.get(splitTarget(request.url).path)
  }

  return {
    /** For Node's `shouldUpgradeCallback`: `curl --http2` also sends an Upgrade, which is to be ignored. */
    wants(request: IncomingMessage): boolean {
      return request.headers.upgrade?.toLowerCase() === 'websocket' && find(request) !== undefined
    },

    async handle(request: IncomingMessage, connection: Duplex, head: Buffer): Promise<void> {
      const startedAt = performance.now()
      connection.on('error', () => connection.destroy())
      const found = find(request)
      if (!found) return void connection.destroy()
      const { entry, route } = found
      const id = deps.requestId(request.headers['x-request-id'])
      const facts = { id, method: 'GET', route: entry.path, dialect: entry.dialect.name }
      const finish = (status: number, subject: string | null) =>
        deps.observe({ ...facts, status, seconds: (performance.now() - startedAt) / 1000, subject })
      try {
        const query = Object.fromEntries(new URLSearchParams(splitTarget(request.url).search))
        const subscriber = await deps.liveFeed.admitSocket(route, request, { query, id })
        deps.sockets.accept({ request, connection, head, ...subscriber })
        finish(101, subscriber.caller.subject)
      } catch (thrown) {
        logThrown(deps.logger, id, thrown)
        const answer = answerThrown(entry.dialect, thrown)
        refuse(connection, answer)
        finish(answer.status, null)
      }
    },
  }
}
