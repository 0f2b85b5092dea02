import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import type { ExecutionContext } from 'ava'

interface Thing {
  readonly id: string
  readonly project: string
  readonly name: string | null
  readonly size: number
  readonly metadata: Readonly<Record<string, string>>
  readonly volumeId?: string
  readonly createdAt: string
  status: string
}

/** What becomes of a request: a status instead of doing it, or `lost`: it is done, and the connection cut before the answer. */
type Fault = number | 'lost' | undefined

/**
 * A stub that records, and no Cinder: it answers in that one's shapes from a table of its own, and fails when a test says so. What it
 * makes is `available` when it is looked at next.
 */
export async function startCinderStub(t: Pick<ExecutionContext, 'teardown'>) {
  const lines: string[] = []
  const things = { volumes: new Map<string, Thing>(), snapshots: new Map<string, Thing>() }
  const control: { fault: (line: string) => Fault; becomes: (thing: Thing) => string; secret: string } = {
    fault: () => undefined,
    becomes: () => 'available',
    secret: 'a secret of sixteen',
  }
  let ticks = 0

  function keep(kind: keyof typeof things, given: Partial<Thing> & Pick<Thing, 'project'>): Thing {
    ticks += 1
    const createdAt = new Date(1_700_000_000_000 + ticks * 1_000).toISOString().replace('Z', '')
    const thing = { id: randomUUID(), name: null, size: 1, metadata: {}, status: 'available', createdAt, ...given }
    things[kind].set(thing.id, thing)
    return thing
  }

  function shown({ volumeId, project, createdAt, ...thing }: Thing) {
    return {
      ...{ ...thing, created_at: createdAt, encrypted: false, 'os-vol-tenant-attr:tenant_id': project },
      ...(volumeId === undefined ? {} : { volume_id: volumeId }),
    }
  }

  /** As it was before this look: what is being made or deleted has come to that by the next one. */
  function looked(kind: keyof typeof things, thing: Thing) {
    const view = shown(thing)
    if (thing.status === 'creating') thing.status = control.becomes(thing)
    if (thing.status === 'deleting') things[kind].delete(thing.id)
    return view
  }

  function act(volume: Thing, action: Readonly<Record<string, unknown>>): readonly [number, unknown] {
    if ('os-reserve' in action) volume.status = 'attaching'
    if ('os-unreserve' in action) volume.status = 'available'
    if ('revert' in action) volume.status = 'reverting'
    if (!('os-initialize_connection' in action)) return [202, undefined]
    const data = {
      ...{
        target_portal: '192.0.2.1:3260',
        target_iqn: `iqn.2026-01.test:${volume.id}`,
        target_lun: 1,
        encrypted: false,
      },
      ...{ auth_method: 'CHAP', auth_username: 'user', auth_password: control.secret },
    }
    return [200, { connection_info: { driver_volume_type: 'iscsi', data } }]
  }

  // biome-ignore lint/suspicious/noExplicitAny: what clients send, looked into by name
  function answer(method: string, url: URL, body: any): readonly [number, unknown] {
    const [, , project = '', kind = '', id = '', verb] = url.pathname.split('/')
    if (kind !== 'volumes' && kind !== 'snapshots')
      return [404, { itemNotFound: { code: 404, message: 'no such path' } }]
    const one = kind === 'volumes' ? 'volume' : 'snapshot'
    if (method === 'POST' && id === '') {
      const { name = null, size = 1, metadata = {}, volume_id: volumeId } = body[one]
      const made = keep(kind, { project, name, size, metadata, status: 'creating', ...(volumeId ? { volumeId } : {}) })
      return [202, { [one]: shown(made) }]
    }
    if (method === 'GET' && id === 'detail') {
      const [name, of] = [url.searchParams.get('name'), url.searchParams.get('volume_id')]
      const all = [...things[kind].values()].filter(
        (thing) => (name ?? thing.name) === thing.name && (of ?? thing.volumeId) === thing.volumeId,
      )
      return [200, { [kind]: all.map((thing) => looked(kind, thing)) }]
    }
    const thing = things[kind].get(id)
    if (thing === undefined) return [404, { itemNotFound: { code: 404, message: `${one} ${id} could not be found.` } }]
    if (method === 'GET') return [200, { [one]: looked(kind, thing) }]
    if (verb === 'action') return act(thing, body)
    thing.status = 'deleting'
    return [202, undefined]
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://stub')
    const body = request.method === 'POST' ? await json(request) : undefined
    const what = body === undefined || !url.pathname.endsWith('/action') ? '' : ` ${Object.keys(body as object)[0]}`
    const line = `${request.method} ${url.pathname.replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4,12}){4}/g, ':id')}${what}`
    lines.push(line)
    const fault = control.fault(line)
    if (typeof fault === 'number') {
      response.writeHead(fault, { 'content-type': 'application/json' })
      return void response.end(JSON.stringify({ fault: { code: fault, message: 'as the test says' } }))
    }
    const [status, told] = answer(request.method ?? '', url, body)
    if (fault === 'lost') return void request.socket.destroy()
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(told === undefined ? undefined : JSON.stringify(told))
  }

  const server = createServer((request, response) => void serve(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  // as: a TCP server that listens has an AddressInfo
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/v3`, lines, things, keep, control }
}
