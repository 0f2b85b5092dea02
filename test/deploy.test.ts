import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { z } from 'zod'
import { Credentials } from '../deploy/credentials.ts'
import { missingParts } from '../deploy/fleet-ready.ts'
import { isAlive, ProcessIdentity } from '../deploy/process-identity.ts'
import { findTool } from '../deploy/tools.ts'
import { freePort } from './harness/free-port.ts'
import { lacksServers, testUnless } from './harness/system-packages.ts'
import { until } from './harness/until.ts'

const ROOT = join(import.meta.dirname, '..')
const STOP_LIMIT_MS = 10_000
const WAIT_LIMIT_MS = 60_000
const AGENTS = ['agent-1', 'agent-2']

const Processes = z.array(ProcessIdentity.extend({ name: z.string() }))

interface Start {
  readonly child: ChildProcess
  /** All it has printed so far. */
  output(): string
  /** Resolves when its output holds `text`; rejects when it ends or takes too long before. */
  says(text: string): Promise<void>
  /** @returns its exit code and how long it took to end. */
  stop(signal: NodeJS.Signals): Promise<{ code: number | null; tookMs: number }>
}

/** Runs what `npm start` runs, in a process group of its own. */
function start(t: ExecutionContext, environment: Readonly<Record<string, string>>): Start {
  const child = spawn('node', ['deploy/bootstrap.mjs', 'start'], {
    cwd: ROOT,
    env: { ...process.env, DATABASE_URL: '', NATS_URL: '', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  const keep = (chunk: Buffer) => {
    output += chunk.toString('utf8')
  }
  child.stdout?.on('data', keep)
  child.stderr?.on('data', keep)
  const closed = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGTERM')
    await closed
  })
  return {
    child,
    output: () => output,
    async says(text) {
      await until(`"${text}"`, () => output.includes(text) || child.exitCode !== null, WAIT_LIMIT_MS)
      if (!output.includes(text))
        throw new Error(`it ended without "${text}":
${output}`)
    },
    async stop(signal) {
      const startedAt = performance.now()
      child.kill(signal)
      const [code] = await closed
      return { code, tookMs: performance.now() - startedAt }
    },
  }
}

function stateDirectory(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-start-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return join(folder, 'state')
}

function readState<Schema extends z.ZodType>(state: string, name: string, schema: Schema): z.infer<Schema> {
  return schema.parse(JSON.parse(readFileSync(join(state, name), 'utf8')))
}

/** Mounts and loop devices that stand on the state directory. */
function leftovers(state: string): readonly string[] {
  if (process.platform !== 'linux') return []
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  const losetup = findTool('losetup')
  const loops = losetup ? execFileSync(losetup, ['--list', '--noheadings'], { encoding: 'utf8' }).split('\n') : []
  return [...mounts, ...loops].filter((line) => line.includes(state))
}

async function api(credentials: Credentials, path: string, body?: unknown): Promise<unknown> {
  const response = await fetch(new URL(path, credentials.url), {
    headers: { authorization: `Bearer ${credentials.token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
  })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return response.json()
}

/** The line that it says, as a shell would run it. */
async function askByCertificate(output: string): Promise<string> {
  const [, key = '', cert = '', url = ''] = /curl -k --key (\S+) --cert (\S+) (\S+)/.exec(output) ?? []
  const shown = { key: readFileSync(key), cert: readFileSync(cert), rejectUnauthorized: false }
  const [response] = await once(request(url, shown).end(), 'response')
  return text(response)
}

const Dataset = z.object({ name: z.string(), mountpoint: z.string() })

const testWithServers = testUnless(lacksServers())

testWithServers('npm start keeps a fleet up, ends it without a trace and finds its data again', async (t) => {
  t.timeout(180_000)
  const state = stateDirectory(t)
  const port = String(await freePort())
  const tlsPort = String(await freePort())
  const environment = {
    ...{ HOLDFAST_STATE: state, HOLDFAST_PORT: port, HOLDFAST_TLS_PORT: tlsPort },
    HOLDFAST_AGENTS: String(AGENTS.length),
  }
  const ready = `ready http://127.0.0.1:${port}\n`

  const first = start(t, environment)
  await first.says(ready)
  const credentials = readState(state, 'credentials.json', Credentials)
  t.is(statSync(join(state, 'credentials.json')).mode & 0o777, 0o600)
  t.is(credentials.url, `http://127.0.0.1:${port}`)
  t.is((await fetch(`${credentials.url}/health`)).status, 200)
  t.is((await fetch(`${credentials.url}/api/v1/hosts`)).status, 401)
  const { username, password } = credentials
  const login = await fetch(`${credentials.url}/api/v1/login`, {
    method: 'POST',
    body: JSON.stringify({ username, password }),
  })
  t.like(await login.json(), { username, isAdmin: true })
  t.is(await askByCertificate(first.output()), '{"status":"ok","message":"test"}')
  const made = Dataset.parse(await api(credentials, '/api/v1/datasets', { name: 'kept' }))
  writeFileSync(join(made.mountpoint, 'word'), 'still here')

  const second = start(t, { ...environment, HOLDFAST_PORT: String(await freePort()) })
  await second.says('holdfast: another holdfast (pid ')

  for (const { name, pid } of readState(state, 'processes.json', Processes)) {
    process.kill(pid, 'SIGKILL')
    await first.says(`${name} ended (signal SIGKILL); starting it again`)
  }
  await until(
    'ready after each child was killed',
    async () => (await missingParts(credentials, AGENTS)).length === 0,
    WAIT_LIMIT_MS,
  )

  const children = readState(state, 'processes.json', Processes)
  t.deepEqual(children.map(({ name }) => name).toSorted(), [
    'agent-1',
    'agent-2',
    'control-plane',
    'nats-server',
    'postgres',
  ])
  const stopped = await first.stop('SIGTERM')
  t.is(stopped.code, 0, first.output())
  t.true(stopped.tookMs < STOP_LIMIT_MS, `${stopped.tookMs} ms`)
  t.deepEqual(children.filter(isAlive), [])
  t.deepEqual(leftovers(state), [])
  t.false(existsSync(join(state, 'lock')))

  const third = start(t, environment)
  await third.says(ready)
  t.deepEqual(readState(state, 'credentials.json', Credentials), credentials)
  t.like(await api(credentials, '/api/v1/datasets/kept'), { name: 'kept', mountpoint: made.mountpoint })
  t.is(readFileSync(join(made.mountpoint, 'word'), 'utf8'), 'still here')
  const orphans = readState(state, 'processes.json', Processes)
  const supervisor = readState(state, 'lock', ProcessIdentity)
  process.kill(supervisor.pid, 'SIGKILL')
  await once(third.child, 'close')

  const fourth = start(t, environment)
  await fourth.says(ready)
  t.deepEqual(orphans.filter(isAlive), [])
  t.is(readFileSync(join(made.mountpoint, 'word'), 'utf8'), 'still here')
  // Ctrl-C reaches the whole foreground process group.
  process.kill(-(fourth.child.pid ?? 0), 'SIGINT')
  const [code] = await once(fourth.child, 'close')
  t.is(code, 0, fourth.output())
  t.deepEqual(leftovers(state), [])
})

testWithServers('a stop while starting leaves nothing behind', async (t) => {
  const state = stateDirectory(t)
  const starting = start(t, { HOLDFAST_STATE: state, HOLDFAST_PORT: String(await freePort()) })
  await starting.says('starting nats-server')
  const { code, tookMs } = await starting.stop('SIGTERM')
  t.is(code, 0, starting.output())
  t.true(tookMs < STOP_LIMIT_MS, `${tookMs} ms`)
  t.deepEqual(leftovers(state), [])
  t.deepEqual(readState(state, 'processes.json', Processes), [])
})

test.serial('what stands in the way is one clear line', async (t) => {
  const state = stateDirectory(t)
  const occupant = createServer().listen(await freePort(), '127.0.0.1')
  await once(occupant, 'listening')
  t.teardown(() => occupant.close())
  const address = occupant.address()
  const port = String(typeof address === 'object' ? address?.port : '')
  const cases: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
    [{ HOLDFAST_PORT: port }, new RegExp(`^holdfast: port ${port} is in use: set HOLDFAST_PORT to another one$`, 'm')],
    [{ HOLDFAST_PORT: 'http', HOLDFAST_AGENTS: '0' }, /HOLDFAST_PORT: .*\n.*HOLDFAST_AGENTS: /],
    [{ HOLDFAST_STATE: '/dev/null' }, /^holdfast: the state directory cannot be used: .*\/dev\/null/m],
    [{ NATS_URL: 'localhost' }, /NATS_URL: must look like nats:/],
  ]
  for (const [environment, message] of cases) {
    const refused = start(t, { HOLDFAST_STATE: state, HOLDFAST_PORT: String(await freePort()), ...environment })
    const [code] = await once(refused.child, 'close')
    t.is(code, 1)
    t.regex(refused.output(), message)
    t.notRegex(refused.output(), /^ {4}at /m, 'no stack')
  }
})
