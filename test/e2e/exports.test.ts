import { closeSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { holdSession, holds, lacksInitiator, onLun } from '../harness/initiator.ts'
import { mountLoop, temporaryDirectory } from '../harness/loop-mount.ts'
import { stepsIn } from '../harness/steps.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { createTenant } from '../harness/tenants.ts'
import { until } from '../harness/until.ts'

const it = testUnless(
  lacksServers() ??
    lacksTool('mkfs.btrfs', 'tgtd') ??
    lacksInitiator() ??
    (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root'),
)

const WAIT_MS = 60_000
const SIZE_BYTES = 4 * 2 ** 20
const GOLDEN = 'alpha-pool/images/golden'
const [IMAGE, CHANGED] = [0x11, 0x77]
const [RIGHT, WRONG] = ['iqn.2026-01.test:right', 'iqn.2026-01.test:wrong']
const wwnOf = (name: string) => `iqn.2026-01.test:${name}`
const isKept = (path: string) => path.endsWith('exports.log')
const volumeAt = (path: string, rest = '') => `/api/v1/volumes/${encodeURIComponent(path)}${rest}`
const exportAt = (name: string, rest = '') => `/api/v1/exports/${encodeURIComponent(wwnOf(name))}${rest}`

/** A node of the testbed: what is asked of the emulab dialect to make its disk, and to take it away. */
const wanted = (name: string) => ({
  src: `${GOLDEN}@1`,
  dst: `alpha-pool/nodes/${name}`,
  wwn: wwnOf(name),
  initiators: [RIGHT],
  createParent: 1,
})
const unwanted = (name: string) => ({ dst: `alpha-pool/nodes/${name}`, wwn: wwnOf(name), deleteClone: 1 })

/** What one tenant does. */
function client(fleet: TestFleet, token: string) {
  const call = (method: string, path: string, body?: unknown) => fleet.call(method, path, body, { token })
  const told = async (id: string) => (await call('GET', `/lun/api/v1.0/clone_status/${id}`)).body
  const ended = (id: string) =>
    until(
      `clones ${id} end`,
      async () => {
        const status = await told(id)
        return ['complete', 'failed'].includes(status.status) ? status : undefined
      },
      WAIT_MS,
    )
  const clones = async (method: 'POST' | 'DELETE', list: readonly object[]): Promise<string> => {
    const { status, body } = await call(method, '/lun/api/v1.0/clone', { clones: list })
    if (status !== 201) throw new Error(`${status}: ${JSON.stringify(body)}`)
    return body.job_id
  }
  return {
    call,
    told,
    ended,
    clones,
    async login(name: string, initiator = RIGHT) {
      const { body } = await call('GET', exportAt(name))
      return { portal: String(body.portal), target: wwnOf(name), lun: Number(body.lun), initiator }
    },
    /** Waits until its host exports it, as that says itself. */
    async stands(name: string) {
      const check = async () => (await call('GET', exportAt(name))).body.standing === true
      await until(`${name} stands`, check, WAIT_MS)
    },
    /** Whether the disk of a node begins as the image does, to its own initiator. */
    async isImage(name: string) {
      return holds(await this.login(name), IMAGE)
    },
  }
}

/** The tgtd that serves this portal. */
function daemonAt(portal: string): number {
  const found = readdirSync('/proc').find((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`portal=${portal},`)
    } catch {
      return false // it has ended meanwhile
    }
  })
  if (found === undefined) throw new Error(`nobody serves ${portal}`)
  return Number(found)
}

it('disks are cloned from an image and exported to their own nodes, whatever dies meanwhile', async (t) => {
  const pool = mountLoop(t, 'btrfs', 512 * 2 ** 20)
  const steps = stepsIn(temporaryDirectory(t))
  const { HOLDFAST_TEST_STEPS = '', NODE_OPTIONS = '' } = steps.environment
  const environment = { HOLDFAST_TEST_STEPS, NODE_OPTIONS }
  const fleet = await startFleet(t, { agents: [{ name: 'alpha', driver: 'btrfs', path: pool, environment }] })
  const [red, blue] = [await createTenant(fleet, 'red'), await createTenant(fleet, 'blue')]
  const tester = client(fleet, (await red.member('operator')).token)
  const stranger = client(fleet, (await blue.member('admin')).token)

  // An image.
  const made = await tester.call('POST', '/api/v1/volumes', {
    name: 'images/golden',
    size_bytes: SIZE_BYTES,
    create_parent: true,
  })
  t.is(made.status, 201, JSON.stringify(made.body))
  t.like(made.body, { path: GOLDEN, size_bytes: SIZE_BYTES, state: 'available', device: null, host: 'alpha' })
  const { device } = (await fleet.call('GET', volumeAt(GOLDEN))).body
  const image = openSync(device, 'r+')
  writeSync(image, Buffer.alloc(SIZE_BYTES, IMAGE))
  closeSync(image)
  const taken = await tester.call('POST', volumeAt(GOLDEN, '/snapshots'), { name: '1' })
  t.like(taken, { status: 201, body: { path: `${GOLDEN}@1` } })

  // Three disks of it.
  const first = await tester.ended(await tester.clones('POST', ['a', 'b', 'c'].map(wanted)))
  t.like(first, { status: 'complete', num_requested: 3, num_clones: 3, num_targets: 3, percent_completed: 1 })
  t.true(await tester.isImage('a'))
  t.is(await holds(await tester.login('a', WRONG), IMAGE), undefined)
  t.truthy(await onLun(await tester.login('a'), `write -P ${CHANGED} 0 64k`, 'flush'))
  t.true(await holds(await tester.login('a'), CHANGED))
  t.true(await tester.isImage('b'))
  t.is(readFileSync(device)[0], IMAGE)
  const again = await tester.ended(await tester.clones('POST', ['a', 'b'].map(wanted)))
  t.like(again, { status: 'complete', reused: [0, 1], diverged: [0] })
  const others = [{ ...wanted('d'), src: 'nowhere/image@1' }, { ...wanted('e'), src: `${GOLDEN}@none` }, wanted('f')]
  const mixed = await tester.ended(await tester.clones('POST', others))
  t.like(mixed, { status: 'failed', num_completed: 1 })
  t.deepEqual(
    mixed.errors.map(({ n }: { n: number }) => n),
    [0, 1],
  )
  t.true(await tester.isImage('f'))

  // What is in the way is told.
  const kept = await tester.call('DELETE', volumeAt(GOLDEN, '/snapshots/1'))
  t.is(kept.status, 409, JSON.stringify(kept.body))
  for (const name of ['a', 'b', 'c', 'f'])
    t.true(JSON.stringify(kept.body.error.blockers).includes(`alpha-pool/nodes/${name}`))
  t.is((await tester.call('DELETE', volumeAt('alpha-pool/nodes/b'))).status, 409)
  const session = await holdSession(await tester.login('b'))
  t.teardown(() => session.end())
  const used = await tester.ended(await tester.clones('DELETE', [unwanted('b'), unwanted('c')]))
  t.like(used, { status: 'failed', num_completed: 1 })
  t.regex(used.error, /in use/)
  const held = await tester.call('DELETE', exportAt('b'))
  t.is(held.status, 409)
  t.deepEqual(held.body.error.blockers, [RIGHT])
  t.like((await tester.call('GET', exportAt('b'))).body, { sessions: [{ initiator: RIGHT }] })
  t.true(await session.reads())
  const forced = await tester.ended(await tester.clones('DELETE', [{ ...unwanted('b'), force: 1 }]))
  t.like(forced, { status: 'complete', num_clones: 1, num_targets: 1 })
  t.false(await session.reads(1_000))
  t.is((await tester.call('GET', exportAt('b'))).status, 404)
  t.is((await tester.call('GET', volumeAt('alpha-pool/nodes/b'))).status, 404)
  t.like(await tester.ended(await tester.clones('DELETE', [unwanted('b')])), { status: 'complete' })

  // Its host is silent: what was refused then is not made later.
  await fleet.agent('alpha').signal('SIGSTOP')
  const refused = await Promise.all([
    tester.call('POST', '/api/v1/volumes', { name: 'late', size_bytes: SIZE_BYTES }),
    tester.call('DELETE', volumeAt('alpha-pool/nodes/f')),
    tester.call('POST', '/api/v1/exports', { volume: GOLDEN, wwn: wwnOf('late'), initiators: [RIGHT] }),
  ])
  await fleet.agent('alpha').signal('SIGCONT')
  t.deepEqual(
    refused.map(({ status }) => status),
    [503, 409, 503],
  )
  await fleet.quiet(WAIT_MS)
  t.is((await tester.call('GET', volumeAt('alpha-pool/late'))).status, 404)
  t.is((await tester.call('GET', exportAt('late'))).status, 404)

  // Another tenant's.
  for (const path of [exportAt('a'), volumeAt(GOLDEN), volumeAt('alpha-pool/nodes/a')]) {
    t.is((await stranger.call('GET', path)).status, 404)
    t.is((await stranger.call('DELETE', path)).status, 404)
  }
  for (const list of ['/api/v1/exports', '/api/v1/volumes'])
    t.deepEqual((await stranger.call('GET', list)).body.items, [])
  t.is((await stranger.call('GET', '/api/v1/pools/alpha-pool/volumes')).status, 403)
  const theft = await stranger.ended(await stranger.clones('POST', [wanted('a'), wanted('stolen')]))
  t.like(theft, { status: 'failed', num_completed: 0 })
  await stranger.ended(await stranger.clones('DELETE', [{ ...unwanted('a'), force: 1 }]))
  t.true(await holds(await tester.login('a'), CHANGED))

  // The agent is killed while it clones.
  const nodes = Array.from({ length: 12 }, (_, n) => `n${n}`)
  steps.set({ step: 'clone', place: 'before', act: { killAfterMs: 10 } })
  const many = await tester.clones('POST', nodes.map(wanted))
  await steps.died(fleet.agent('alpha'))
  await fleet.ready({ agent: 'alpha' })
  t.like(await tester.ended(many), { status: 'complete', num_targets: nodes.length })
  for (const name of ['n0', 'n11']) t.true(await tester.isImage(name), name)
  t.true(await holds(await tester.login('a'), CHANGED))

  // Its daemon is; then the control plane; then the agent loses what it kept.
  const standing = async () => {
    const { body } = await tester.call('GET', '/api/v1/exports?limit=50')
    return body.items.map(({ target }: { target: string }) => target).toSorted()
  }
  const before = await standing()
  t.is(before.length, nodes.length + 2)
  process.kill(daemonAt((await tester.login('n1')).portal), 'SIGKILL')
  await tester.stands('n1')
  t.true(await tester.isImage('n1'))
  const second = await tester.login('n2')
  await fleet.planes[0]?.signal('SIGKILL')
  t.true(await holds(second, IMAGE))
  await fleet.ready({ plane: 0 })
  t.deepEqual(await standing(), before)

  await fleet.agent('alpha').stop()
  const [notes = ''] = readdirSync(fleet.state('alpha'), { recursive: true, encoding: 'utf8' }).filter(isKept)
  rmSync(join(fleet.state('alpha'), notes))
  await fleet.ready({ agent: 'alpha' })
  await tester.stands('n3')
  t.true(await tester.isImage('n3'))
  t.is(await holds(await tester.login('n3', WRONG), IMAGE), undefined)

  const away = await tester.ended(await tester.clones('DELETE', [...nodes, 'a', 'f'].map(unwanted)))
  t.like(away, { status: 'complete', num_clones: nodes.length + 2, num_targets: nodes.length + 2 })
  t.deepEqual(await standing(), [])
  t.is((await tester.call('DELETE', volumeAt(GOLDEN, '/snapshots/1'))).status, 204)
  t.is((await tester.call('DELETE', volumeAt(GOLDEN))).status, 204)
  await fleet.quiet(WAIT_MS)
})
