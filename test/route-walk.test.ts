import test, { type ExecutionContext } from 'ava'
import { Registry } from 'prom-client'
import { WebSocket } from 'ws'
import { createDialects } from '../control-plane/dialects.ts'
import type { AnyRoute, Dialect } from '../control-plane/http/route.ts'
import { type AgentWish, startFleet } from './harness/fleet.ts'
import { temporaryDirectory } from './harness/loop-mount.ts'
import { MARK, ROUTE_ENTRIES, type RouteEntry, type RouteInput, type World } from './harness/route-entries.ts'
import { createTenant, createUser } from './harness/tenants.ts'

/**
 * Walks every route of every dialect with no, wrong, too little, another tenant's and right credentials. The routes come
 * from the registry, so one that forgets to ask who is there is found by being there.
 */

interface Walk {
  readonly dialect: Dialect
  readonly route: AnyRoute
  readonly entry: RouteEntry
}

interface Reply {
  readonly status: number
  readonly text: string
}

const ABSENT = { readiness: async () => ({ postgres: true, nats: true, ingest: true }), metrics: new Registry() }

/** How long a stream is read for what it should not tell. */
const STREAM_READ_MS = 150
const NAMES = new RegExp(`${MARK}-\\d+-end`, 'g')
const SHOWN_CHARACTERS = 500

/** A host whose files are real: points are made of them, and lie there. */
function aHost(t: ExecutionContext): AgentWish {
  const path = temporaryDirectory(t)
  return { name: 'alpha', driver: 'copy', path, environment: { HOLDFAST_AGENT_BACKUP_ROOT: temporaryDirectory(t) } }
}

async function startWorld(t: ExecutionContext): Promise<World> {
  const fleet = await startFleet(t, { agents: [aHost(t)] })
  const red = await createTenant(fleet, `${MARK}-group`)
  const blue = await createTenant(fleet, 'blue')
  const tokens = {
    viewer: (await red.member('viewer')).token,
    operator: (await red.member('operator')).token,
    admin: (await red.member('admin')).token,
    other: (await blue.member('admin')).token,
    fleet: (await createUser(fleet, 'admin')).token,
  }
  let count = 0
  const name = () => {
    count += 1
    return `${MARK}-${count}-end`
  }
  const make = async (path: string, body: object) => {
    const answer = await fleet.call('POST', path, body, { token: tokens.operator })
    t.is(answer.status, 201, JSON.stringify(answer.body))
    return answer
  }
  const world: World = {
    fleet,
    red,
    tokens,
    name,
    namedByOther: new Set(),
    dataset: async () => (await make('/api/v1/datasets', { name: name() })).body.name,
    snapshot: async () => (await make('/api/v1/snapshots', { source: 'root', name: name() })).body.name,
    async job(state) {
      const { headers, body } = await make('/api/v1/datasets', { name: name() })
      const id = headers.get('x-job-id') ?? ''
      await fleet.sql(
        `update job set state = $2, finished_at = case when $2 = 'running' then null else now() end where id = $1`,
        [id, state],
      )
      // So that a retry may make it again.
      if (state === 'failed') await fleet.sql('delete from dataset where name = $1', [body.name])
      return id
    },
  }
  return world
}

function pathOf(route: AnyRoute, { params = {}, query = '' }: RouteInput): string {
  const path = route.path.replaceAll(/[:*]([^/]+)/g, (_, name: string) =>
    encodeURIComponent(params[name] ?? `no-${name}`),
  )
  return `${path}${query}`
}

function upgrade(url: string, token: string | null): Promise<Reply> {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` }
  const socket = new WebSocket(`${url.replace('http', 'ws')}`, { headers })
  return new Promise((resolve) => {
    socket.on('open', () => {
      socket.terminate()
      resolve({ status: 101, text: '' })
    })
    socket.on('unexpected-response', (_request, response) => {
      let text = ''
      response.on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    socket.on('error', () => undefined)
  })
}

async function follow(url: string, headers: Record<string, string>): Promise<Reply> {
  const gone = new AbortController()
  const response = await fetch(url, { headers: { ...headers, accept: 'text/event-stream' }, signal: gone.signal })
  if (response.status !== 200) return { status: response.status, text: await response.text() }
  setTimeout(() => gone.abort(), STREAM_READ_MS)
  let text = ''
  const decoder = new TextDecoder()
  try {
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk, { stream: true })
  } catch {
    // aborted: what was read so far is all
  }
  return { status: 200, text }
}

async function call(world: World, { route }: Walk, asked: { input: RouteInput; token: string | null }): Promise<Reply> {
  const { input, token } = asked
  const url = world.fleet.url() + pathOf(route, input)
  const headers = { ...input.headers, ...(token === null ? {} : { authorization: `Bearer ${token}` }) }
  if (route.kind === 'socket') return upgrade(url, token)
  if (route.kind === 'stream') return follow(url, headers)
  const body = input.body === undefined ? {} : { body: JSON.stringify(input.body) }
  const response = await fetch(url, { method: route.method, headers, ...body })
  return { status: response.status, text: await response.text() }
}

/** Failures wear the envelope of their dialect. */
function checkEnvelope(t: ExecutionContext, { dialect, route }: Walk, { status, text }: Reply): void {
  if (status < 400) return
  t.notThrows(
    () => dialect.errorSchema.parse(JSON.parse(text)),
    `${dialect.name}.${route.operation} ${status}: ${text}`,
  )
}

function successOf({ route, entry }: Walk): number {
  return entry.status ?? ('status' in route ? route.status : 200)
}

/** What another tenant may make, it makes under a name of its own: the rest of the walk looks for the first one's. */
function inputOfOther({ entry }: Walk, input: RouteInput): RouteInput {
  if (input.body === undefined || entry.other === undefined || entry.other >= 300) return input
  return { ...input, body: JSON.parse(JSON.stringify(input.body).replaceAll(MARK, 'own')) }
}

async function walkRoute(t: ExecutionContext, world: World, walk: Walk): Promise<void> {
  const { dialect, route, entry } = walk
  const label = `${dialect.name}.${route.operation}`
  const fresh = async (): Promise<RouteInput> => (await entry.input?.(world)) ?? {}
  const expect = async (who: string, token: string | null, status: number, input: RouteInput) => {
    const reply = await call(world, walk, { input, token })
    t.is(reply.status, status, `${label} as ${who}: ${reply.text.slice(0, SHOWN_CHARACTERS)}`)
    checkEnvelope(t, walk, reply)
    return reply
  }
  const input = await fresh()
  if (route.access !== 'public') {
    await expect('nobody', null, 401, input)
    await expect('somebody unknown', 'x'.repeat(43), 401, input)
    if (route.access !== 'viewer') await expect('a viewer', world.tokens.viewer, 403, input)
    const { text } = await expect('another tenant', world.tokens.other, entry.other ?? 404, inputOfOther(walk, input))
    // What it named itself it may read back, in an audit too.
    for (const [named] of JSON.stringify(input).matchAll(NAMES)) world.namedByOther.add(named)
    const told = [...world.namedByOther].reduce((rest, named) => rest.replaceAll(named, ''), text)
    const at = told.indexOf(MARK)
    t.is(at, -1, `${label} tells another tenant: ${told.slice(Math.max(0, at - 100), at + 100)}`)
  }
  const right = route.access === 'public' ? null : world.tokens[entry.as ?? route.access]
  await expect('the right one', right, successOf(walk), input)
}

function walksOf(dialects: readonly Dialect[]): readonly (readonly [string, Dialect, AnyRoute])[] {
  return dialects.flatMap((dialect) =>
    dialect.routes.map((route) => [`${dialect.name}.${route.operation}`, dialect, route] as const),
  )
}

// as: the walk asks the registry for its routes and calls none of these
const dialects = createDialects(ABSENT as unknown as Parameters<typeof createDialects>[0])

test('every route has an entry in the walk, and every entry a route', (t) => {
  const routes = walksOf(dialects).map(([key]) => key)
  t.deepEqual(routes.toSorted(), Object.keys(ROUTE_ENTRIES).toSorted())
})

test('every route asks who is there, and answers in its dialect', async (t) => {
  const world = await startWorld(t)
  for (const [key, dialect, route] of walksOf(dialects)) {
    const entry = ROUTE_ENTRIES[key]
    if (entry) await walkRoute(t, world, { dialect, route, entry })
  }
})
