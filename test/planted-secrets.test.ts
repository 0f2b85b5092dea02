import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { bech32 } from '@scure/base'
import test, { type ExecutionContext } from 'ava'
import { z } from 'zod'
import { newBoxKeys } from '../shared/sealed-box.ts'
import { connectAsControlPlane } from './harness/backends.ts'
import { servedDialects } from './harness/document.ts'
import { startFleet, type TestFleet } from './harness/fleet.ts'
import { until } from './harness/until.ts'

const ROOT = join(import.meta.dirname, '..')

/** Files that hold secrets because that is what they are for. */
const MEANT = /^(credentials\.json|passwords\.json|authority\.json|enrolment\.json|enrolment-token|exports\.log)$/

/** Where a secret may not be found, and what stands there. */
type Haystack = readonly [place: string, content: Buffer]

/** Every secret by what it was, so that a find can be named. */
class Planted {
  readonly #secrets = new Map<string, Buffer>()

  add(what: string, secret: string | Buffer): string {
    this.#secrets.set(what, Buffer.from(secret))
    return secret.toString()
  }

  /** A new one, which nothing else in the world looks like. */
  grow(what: string): string {
    return this.add(what, `Plant-${randomBytes(18).toString('hex')}`)
  }

  foundIn(haystacks: readonly Haystack[]): string[] {
    return haystacks.flatMap(([place, content]) =>
      [...this.#secrets].filter(([, secret]) => content.includes(secret)).map(([what]) => `${what} in ${place}`),
    )
  }
}

/** What a client was answered; what is meant to show a secret is not put here. */
class Answers {
  readonly all: Haystack[] = []

  readonly #fleet: TestFleet

  constructor(fleet: TestFleet) {
    this.#fleet = fleet
  }

  async send(method: string, path: string, init: { headers?: Record<string, string>; body?: string } = {}) {
    const response = await fetch(this.#fleet.url() + path, { method, ...init, signal: AbortSignal.timeout(20_000) })
    const text = await response.text()
    const head = [...response.headers].map((pair) => pair.join(': ')).join('\n')
    return { status: response.status, headers: response.headers, text, seen: `${head}\n${text}` }
  }

  /** The same, and the answer must hold no secret. */
  async tell(method: string, path: string, init: { headers?: Record<string, string>; body?: string } = {}) {
    const answer = await this.send(method, path, init)
    this.all.push([`the answer ${answer.status} to ${method} ${path}`, Buffer.from(answer.seen)])
    return answer
  }
}

function filesBelow(folder: string): Haystack[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (MEANT.test(entry.name)) return []
    if (entry.isDirectory()) return filesBelow(path)
    return entry.isFile() ? [[`the file ${path}`, readFileSync(path)] as const] : []
  })
}

function commandLines(): Haystack[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.flatMap((pid) => {
    try {
      return [[`the command line of ${pid}`, readFileSync(`/proc/${pid}/cmdline`)] as const]
    } catch {
      return []
    }
  })
}

async function tables(fleet: TestFleet): Promise<Haystack[]> {
  const names = await fleet.sql(`select format('%I', tablename) as name from pg_tables where schemaname = 'public'`)
  const stacks: Haystack[] = []
  for (const { name } of names) {
    const rows = await fleet.sql(`select t::text as row from ${name} t`)
    stacks.push([`the table ${name}`, Buffer.from(rows.map(({ row }) => row).join('\n'))])
  }
  return stacks
}

/** Everything that goes over NATS while the test runs. */
async function overhear(t: ExecutionContext, { backends }: TestFleet): Promise<Buffer[]> {
  const nats = await connectAsControlPlane(t, backends)
  const heard: Buffer[] = []
  nats.subscribe('>', { callback: (_, message) => void heard.push(Buffer.from(message.data)) })
  await nats.flush()
  return heard
}

/** A path with something in every place, and the fields that its body may have. */
const ROUTES = servedDialects().flatMap((dialect) =>
  dialect.routes.flatMap((route) => {
    if (route.kind !== 'route' && route.kind !== 'raw') return []
    const path = route.path.replaceAll(/:[^/]+/g, '01900000-0000-7000-8000-0000000000aa').replace(/\{.*\}/, '')
    const fields = route.body instanceof z.ZodObject ? Object.keys(route.body.shape) : []
    return [{ dialect: dialect.name, method: route.method, path, fields }]
  }),
)

/** Users with passwords, API keys and enrolments: made well, so that what is kept of them is looked through too. */
async function plantInDirectory(deps: {
  readonly planted: Planted
  readonly answers: Answers
  readonly headers: Record<string, string>
  readonly t: ExecutionContext
}): Promise<void> {
  const { planted, answers, headers, t } = deps
  const user = { name: 'bob', password: planted.grow("bob's password") }
  const made = await answers.tell('POST', '/api/v1/users', { headers, body: JSON.stringify(user) })
  t.is(made.status, 201, made.text)
  const { _id, _etag } = JSON.parse(made.text)
  const change = { method: 'PATCH', headers: { ...headers, 'if-match': _etag } }
  const body = JSON.stringify({ password: planted.grow("bob's next password") })
  const changed = await answers.tell('PATCH', `/api/v1/users/${_id}`, { ...change, body })
  t.is(changed.status, 200, changed.text)

  // The first answer is kept for repeats of its key: without what it shows once.
  const shownOnce = [
    ['/api/v1/apikeys', { name: 'ci', role: 'viewer' }],
    ['/api/v1/hosts/enrolments', { name: 'later' }],
  ] as const
  for (const [path, asked] of shownOnce) {
    const once = { headers: { ...headers, 'idempotency-key': 'once' }, body: JSON.stringify(asked) }
    const shown = await answers.send('POST', path, once)
    t.is(shown.status, 201, shown.text)
    const secret = planted.add(`what ${path} shows once`, JSON.parse(shown.text).token)
    t.true(secret.length > 20)
    await answers.tell('POST', path, once)
    await answers.tell('GET', '/api/v1/hosts', { headers: { authorization: `Bearer ${secret}` } })
  }
}

/** A pair as `age-keygen` makes them. */
function ageKeys() {
  const { privateKey, publicKey } = newBoxKeys()
  const text = (prefix: string, key: Buffer) => bech32.encode(prefix, bech32.toWords(key), false)
  return { identity: text('age-secret-key-', privateKey).toUpperCase(), recipient: text('age', publicKey) }
}

/** Targets with every secret that one can have, changed, asked by an agent, and refused with a key in the wrong place. */
async function plantInTargets(deps: {
  readonly planted: Planted
  readonly answers: Answers
  readonly headers: Record<string, string>
  readonly t: ExecutionContext
}): Promise<void> {
  const { planted, answers, headers, t } = deps
  const tell = (method: string, path: string, body: object) =>
    answers.tell(method, path, {
      headers: { ...headers, 'idempotency-key': randomBytes(8).toString('hex') },
      body: JSON.stringify(body),
    })
  const { identity, recipient } = ageKeys()
  const server = { name: 'vault', host: '127.0.0.1', port: 9, username: 'admin' }
  const made = await tell('POST', '/api/v1/targets', {
    ...server,
    protocol: 'sftp',
    host_key: `ssh-ed25519 SHA256:${'A'.repeat(43)}`,
    password: planted.grow("a target's password"),
    private_key: planted.grow("a target's private key"),
    passphrase: planted.grow("a target's passphrase"),
    identity: planted.add("a target's identity", identity),
    recipients: [recipient],
  })
  t.is(made.status, 201, made.text)
  const path = `/api/v1/targets/${JSON.parse(made.text).id}`
  const changed = await tell('PUT', path, { password: planted.grow("a target's next password") })
  t.is(changed.status, 200, changed.text)
  const other = { name: 'site', ipaddr: '127.0.0.1:9', username: 'admin', protocol: 's3', bucket: 'backups' }
  const secret = { password: planted.grow('a secret access key') }
  t.is((await tell('POST', '/api/v1/target', { ...other, ...secret })).status, 200)
  for (const wrong of [{ recipients: [identity] }, { identity: `${identity}x` }, { bucket: identity }]) {
    const refused = await tell('PUT', path, wrong)
    t.is(refused.status, 400, refused.text)
  }
  await tell('POST', `${path}/ping`, {})
  await answers.tell('GET', `${path}/files`, { headers })
  await answers.tell('GET', '/api/v1/target', { headers })
}

/** A list of exports whose initiators log in with secrets; its host cannot make the second one. */
async function plantInExports(deps: Parameters<typeof plantInTargets>[0]): Promise<void> {
  const { planted, answers, headers, t } = deps
  const keyed = () => ({ headers: { ...headers, 'idempotency-key': randomBytes(8).toString('hex') } })
  const tell = (path: string, body: object) => answers.tell('POST', path, { ...keyed(), body: JSON.stringify(body) })
  t.is((await tell('/api/v1/volumes', { name: 'image', size_bytes: 65_536, pool: 'a-pool' })).status, 201)
  t.is((await tell('/api/v1/volumes/a-pool%2Fimage/snapshots', { name: '1' })).status, 201)
  const clones = ['1', '2'].map((snapshot) => ({
    ...{ src: `a-pool/image@${snapshot}`, dst: `a-pool/clone${snapshot}`, wwn: `iqn.2026-01.test:${snapshot}` },
    initiators: ['iqn.2026-01.test:initiator'],
    chap: { user: 'node', secret: planted.grow(`the secret of export ${snapshot}`) },
  }))
  const made = await tell('/lun/api/v1.0/clone', { clones })
  t.is(made.status, 201, made.text)
  const path = `/lun/api/v1.0/clone_status/${JSON.parse(made.text).job_id}`
  await until('the exports', async () => JSON.parse((await answers.tell('GET', path, { headers })).text).job_time > 0)
  for (const shown of ['exports', 'jobs']) await answers.tell('GET', `/api/v1/${shown}`, { headers })
  const chap = { user: 'node', secret: planted.add('a refused secret', `not good: ${randomBytes(18).toString('hex')}`) }
  t.is((await tell('/lun/api/v1.0/clone', { clones: [{ ...clones[0], chap }] })).status, 400)
}

test('no secret is found where it is not meant: logs, tables, answers, metrics, the feed, command lines, NATS, disks', async (t) => {
  const debug = { HOLDFAST_LOG_LEVEL: 'debug' }
  const agents = [{ name: 'a', driver: 'sim', environment: debug }] as const
  const fleet = await startFleet(t, { agents, environment: debug, ownPostgres: true })
  const planted = new Planted()
  const answers = new Answers(fleet)
  const heard = await overhear(t, fleet)
  planted.add('the admin token', fleet.token)
  planted.add('the secrets key', fleet.backends.secretsKey)
  planted.add('the bytes of the secrets key', Buffer.from(fleet.backends.secretsKey, 'base64'))
  planted.add("the database's password", new URL(fleet.backends.databaseUrl).password)
  const seeds = [fleet.backends.authorityFile, join(fleet.state('a'), 'credentials.json')].flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/S[AOU][A-Z2-7]{56}/g)].map(([seed]) => seed),
  )
  t.is(seeds.length, 4)
  for (const [n, seed] of seeds.entries()) planted.add(`seed ${n} of NATS`, seed)
  const admin = { authorization: `Bearer ${fleet.token}` }

  const made = await promisify(execFile)(
    process.execPath,
    ['control-plane/cli.ts', 'create-admin', '--name', 'alice'],
    {
      cwd: ROOT,
      env: { PATH: process.env.PATH, DATABASE_URL: fleet.backends.databaseUrl },
    },
  )
  const password = planted.add("alice's password", /^password (\S+)$/m.exec(made.stdout)?.[1] ?? '')
  t.true(password.length > 10)

  const login = (body: object) => ({ headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  const good = await answers.send('POST', '/api/v1/login', login({ username: 'alice', password }))
  t.is(good.status, 200, good.text)
  const cookie = /holdfast_session=([^;]+)/.exec(good.headers.get('set-cookie') ?? '')?.[1] ?? ''
  planted.add('the session', cookie)
  t.true(cookie.length > 20)
  answers.all.push(['the body of the login', Buffer.from(good.text)])
  await answers.tell('POST', '/api/v1/login', login({ username: 'alice', password: planted.grow('a wrong password') }))
  await answers.tell(
    'POST',
    '/api/v1/login',
    login({ username: planted.grow('a password as the name'), password: 'x' }),
  )

  for (const { dialect, method, path, fields } of ROUTES) {
    const name = `${dialect} ${method} ${path}`
    const send = (headers: Record<string, string>, body?: string) =>
      answers.tell(method, path, { headers, ...(body === undefined || method === 'GET' ? {} : { body }) })
    await send({ authorization: `Bearer ${planted.grow(`a bad bearer token to ${name}`)}` })
    await send({ authorization: `Basic ${planted.grow(`a basic credential to ${name}`)}` })
    await send({ 'x-auth-token': planted.grow(`a bad X-Auth-Token to ${name}`) })
    await send({ cookie: `holdfast_session=${planted.grow(`a bad session to ${name}`)}` })
    // Also where the request is let in. Long polls are not waited for.
    if (method === 'GET') {
      await answers.tell(method, `${path}?timeout=0&token=${planted.grow(`a token in the query of ${name}`)}`, {
        headers: admin,
      })
      continue
    }
    if (path.endsWith('/logout')) continue
    await send(admin, `{"password": "${planted.grow(`malformed JSON to ${name}`)}`)
    await send(admin, JSON.stringify(planted.grow(`a bare text to ${name}`)))
    await send(
      { cookie: `holdfast_session=${cookie}` },
      JSON.stringify({ token: planted.grow(`an unknown field of ${name}`) }),
    )
    for (const field of fields.filter((field) => /passw|secret|token/i.test(field))) {
      const secret = planted.grow(`the value of ${field} of ${name}`)
      await send(admin, JSON.stringify({ name: `n${randomBytes(4).toString('hex')}`, [field]: secret }))
    }
    for (const field of fields) {
      const secret = planted.grow(`the wrong type in ${field} of ${name}`)
      await send(
        { ...admin, 'idempotency-key': randomBytes(8).toString('hex') },
        JSON.stringify({ [field]: [{ secret }] }),
      )
    }
  }
  await plantInDirectory({ planted, answers, headers: admin, t })
  await plantInTargets({ planted, answers, headers: admin, t })
  await plantInExports({ planted, answers, headers: admin, t })
  await answers.tell('GET', '/api/v1/datasets', { headers: { cookie: `holdfast_session=${cookie}` } })
  await answers.tell('GET', '/api/v1/datasets', { headers: { 'x-auth-token': fleet.token } })
  const work = await answers.tell('POST', '/api/v1/datasets', { headers: admin, body: JSON.stringify({ name: 'one' }) })
  t.is(work.status, 201, work.text)
  await answers.tell('PUT', '/api/v1/logout', { headers: { cookie: `holdfast_session=${cookie}` } })

  await answers.tell('GET', '/metrics', { headers: admin })
  const events = await answers.tell('GET', '/api/v1/events?since=0&timeout=0', { headers: admin })
  t.true(JSON.parse(events.text).items.length > 0)
  await until('the audit is linked', async () => {
    const [row] = await fleet.sql('select count(*)::int as n, count(chain_seq)::int as linked from audit')
    return row.n > ROUTES.length && row.n === row.linked
  })
  await answers.tell('GET', '/api/v1/audit?limit=500', { headers: admin })
  t.regex(fleet.planes[0]?.log() ?? '', /"level":20/)

  const stacks = [...answers.all, ...commandLines(), ...(await tables(fleet))]
  await fleet.planes[0]?.stop()
  const files = filesBelow(fleet.backends.folder)
  t.true(
    files.some(([place]) => place.includes('pg_wal')) && files.some(([place]) => place.endsWith('control-plane-0.log')),
  )
  const messages = heard.map((content, n): Haystack => [`message ${n} of NATS`, content])
  t.true(messages.length > 0)
  t.deepEqual(planted.foundIn([...stacks, ...files, ...messages]), [])
})
