import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { ExecutionContext } from 'ava'
import { createAuthority, filesOf, issueCertificate } from '../../control-plane/commands/client-authority.ts'
import { createExampleRecorder } from '../harness/examples.ts'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { freePort } from '../harness/free-port.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { type Replayed, readExchanges, replay } from '../harness/replay.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'

const DIALECT = join(import.meta.dirname, '../../control-plane/dialects/emulab')
const CLONE = '/lun/api/v1.0/clone'
const IMAGE_BYTES = 1024 * 1024
const INITIATORS = ['iqn.2014-11.nmc-probe.org:666cf3f7545']

/** A fleet whose clients show certificates, and an image that is snapshotted. */
async function startTestbed(t: ExecutionContext) {
  const authority = { folder: join(temporaryDirectory(t), 'tls'), environment: process.env }
  createAuthority(authority, ['localhost'])
  for (const name of ['emulab', 'stranger']) issueCertificate(authority, name, 1)
  const files = filesOf(authority)
  const port = await freePort()
  const environment = {
    ...{
      HOLDFAST_TLS_PORT: String(port),
      HOLDFAST_TLS_CERT_FILE: files.server,
      HOLDFAST_TLS_KEY_FILE: files.serverKey,
    },
    ...{ HOLDFAST_CLIENT_CA_FILE: files.authority, HOLDFAST_CLIENT_CRL_FILE: files.revoked },
  }
  const agents = [{ name: 'alpha', driver: 'copy' as const, path: temporaryDirectory(t) }]
  const fleet = await startFleet(t, { agents, environment })
  const user = { name: 'emulab', role: 'operator', certificates: ['subject:CN=emulab'] }
  t.is((await fleet.call('POST', '/api/v1/users', user)).status, 201)
  await makeImage(t, fleet)

  /** As the document's lines do. @returns what curl prints: nothing where it was not let in. */
  async function curl(words: readonly string[], path: string, name: string | null = 'emulab'): Promise<string> {
    const shown = name === null ? [] : ['--key', files.clientKey(name), '--cert', files.client(name)]
    const args = ['-s', '-k', ...shown, ...words, `https://127.0.0.1:${port}${path}`]
    const ran = promisify(execFile)('curl', args, { env: { PATH: process.env.PATH }, timeout: 20_000 })
    return (await ran.catch(() => ({ stdout: '' }))).stdout
  }
  const send = async (method: string, clones: readonly object[]) => {
    const json = ['-H', 'Content-Type: application/json', '-d', JSON.stringify({ clones })]
    return JSON.parse(await curl(['-X', method, ...json], CLONE))
  }
  const ended = (id: string) =>
    until(`job ${id}`, async () => {
      const status = JSON.parse(await curl(['-X', 'GET'], `/lun/api/v1.0/clone_status/${id}`))
      return ['complete', 'failed'].includes(status.status) && status
    })
  return { fleet, curl, send, ended }
}

async function makeImage(t: ExecutionContext, fleet: TestFleet): Promise<void> {
  const volume = { name: 'images/centos72', size_bytes: IMAGE_BYTES, pool: 'alpha-pool', create_parent: true }
  const made = await fleet.call('POST', '/api/v1/volumes', volume)
  t.is(made.status, 201, JSON.stringify(made.body))
  const path = encodeURIComponent(made.body.path)
  t.is((await fleet.call('POST', `/api/v1/volumes/${path}/snapshots`, { name: '1' })).status, 201)
}

const testWithTargets = testUnless(lacksServers() ?? lacksTool('tgtd', 'curl', 'openssl'))

testWithTargets("the document's exchanges and its curl lines, with real certificates", async (t) => {
  const { fleet, curl, send, ended } = await startTestbed(t)
  const exchanges = await readExchanges(join(DIALECT, 'exchanges'))
  const variables = { pool: 'alpha-pool', image: 'images/centos72' }
  const { onStep: record, compareWith } = createExampleRecorder()
  // Jobs that have just begun say little: there are better examples below.
  const onStep = (step: Replayed) => {
    if (!step.path.includes('clone_status')) record(step)
  }
  t.deepEqual(await replay(exchanges, { baseUrl: fleet.url(), token: fleet.token, variables, onStep }), [])

  t.is(await curl([], '/lun/api/v1.0/clone_test'), '{"status":"ok","message":"test"}')
  t.is(await curl(['-X', 'POST'], '/lun/api/v1.0/clone_test'), '{"status":"ok","message":"test"}')
  t.is(await curl([], '/lun/api/v1.0/clone_test', null), '')
  t.is(JSON.parse(await curl([], '/lun/api/v1.0/clone_test', 'stranger')).status, 'error')

  const wwn = 'iqn.2014-11.nmc-probe.org:testbed.yat.nodea.0001'
  const dst = 'alpha-pool/projects/testbed/yat/nodes/nodea.0001'
  const element = { initiators: INITIATORS, src: 'alpha-pool/images/centos72@1', dst, createParent: 1, wwn }
  const started = await send('POST', [element])
  t.is(started.status, 'ok')
  const made = await ended(started.job_id)
  t.like(made, {
    ...{ status: 'complete', job_type: 'create', num_requested: 1, num_completed: 1, num_clones: 1, num_targets: 1 },
    percent_completed: 1,
  })
  t.true(made.job_time > 0 && made.clone_time > 0 && made.target_time > 0, JSON.stringify(made))

  const other = { ...element, dst: `${dst}b`, wwn: `${wwn}b` }
  const missing = { ...other, dst: `${dst}c`, wwn: `${wwn}c`, src: 'alpha-pool/images/centos72@2' }
  const list = [element, missing, { ...other, dst: 'nowhere/d', wwn: `${wwn}d` }, other]
  const mixed = await ended((await send('POST', list)).job_id)
  t.like(mixed, { status: 'failed', num_requested: 4, num_completed: 2, reused: [0] })
  t.deepEqual(
    mixed.errors.map(({ n }: { n: number }) => n),
    [1, 2],
  )
  const status = { method: 'GET', path: '/lun/api/v1.0/clone_status/1', sent: undefined, status: 200, run: 'none' }
  record({ ...status, name: 'all are made', received: made })
  record({ ...status, name: 'some could not be made', received: mixed })
  t.deepEqual(await compareWith(join(DIALECT, 'examples.json')), [], 'HOLDFAST_RECORD=1 records them anew')
  const { body: exported } = await fleet.call('GET', '/api/v1/exports')
  t.deepEqual(exported.items.map(({ target }: { target: string }) => target).toSorted(), [wwn, `${wwn}b`])

  const removals = [
    { dst, wwn, deleteClone: 1 },
    { dst: other.dst, wwn: other.wwn },
  ]
  const removed = await ended((await send('DELETE', removals)).job_id)
  t.like(removed, { status: 'complete', job_type: 'delete', num_completed: 2, num_clones: 1, num_targets: 2 })
  t.like(await fleet.call('GET', `/api/v1/volumes/${encodeURIComponent(dst)}`), { status: 404 })
  t.like(await fleet.call('GET', `/api/v1/volumes/${encodeURIComponent(other.dst)}`), { status: 200 })
  const again = await ended((await send('DELETE', [{ dst, wwn, deleteClones: true }])).job_id)
  t.like(again, { status: 'complete', num_completed: 1 })
})
