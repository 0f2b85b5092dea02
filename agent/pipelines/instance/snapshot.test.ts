import { execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { watch } from '../../../test/contracts/driver-contract.ts'
import { memoryOf, pipelineContract } from '../../../test/contracts/pipeline-contract.ts'
import { MIB } from '../../../test/contracts/volume-contract.ts'
import { instanceHost, untar } from '../../../test/harness/instance-host.ts'
import { COUNTER } from '../../../test/harness/instance-room.ts'
import { lacksLxc, openLxcRoom } from '../../../test/harness/lxc-room.ts'
import { failureOf, pointOrders } from '../../../test/harness/point-orders.ts'
import { testUnless } from '../../../test/harness/system-packages.ts'
import { until } from '../../../test/harness/until.ts'
import { openInstances } from '../../instances/open-instances.ts'
import { createFileVolumes } from '../../volumes/file/file-volumes.ts'
import { snapshotImageOf } from '../../volumes/file/volume-tree.ts'
import type { PipelineTools } from '../pipeline.ts'
import { openWork } from '../pipelines.ts'

const HANGER = join(import.meta.dirname, '../../../test/harness/capture-and-hang.ts')
const lacks = lacksLxc()
const it = testUnless(lacks)
const room = openLxcRoom()
test.after.always(() => room.close())

const lxc = (tool: string, name: string, ...args: readonly string[]) =>
  execFileSync(`/usr/bin/lxc-${tool}`, ['-P', room.folder, '-n', name, ...args], { stdio: 'pipe' }).toString()
const stateOf = (name: string) => /State: +(\w+)/.exec(lxc('info', name, '-s'))?.[1]

/** Counts up in its root, then in what is mounted from another dataset, then in a volume. */
const WRITER = `#!/bin/sh
trap 'exit 0' TERM PWR
i=100000
while :; do
  i=$((i+1))
  echo $i >/root/ticks.new; busybox mv /root/ticks.new /root/ticks
  echo $i >/data/ticks.new; busybox mv /data/ticks.new /data/ticks
  echo $i | busybox dd of=/volume conv=notrunc 2>/dev/null
done
`

type Spec = SpecOf<'instance.snapshot'>

/** A container whose root, a mount and a volume lie in one pool of btrfs, each counting. */
async function counting(t: ExecutionContext, name: string) {
  const orders = await pointOrders(t, { driver: 'btrfs' })
  const host = instanceHost(orders, { lxcPath: room.folder })
  const poolPath = dirname(orders.pool)
  const volumes = await createFileVolumes(poolPath, 'share')
  const { device } = await volumes.create({ volume: 'disk', sizeBytes: MIB, createParent: false }, watch)
  const mounted = randomUUID()
  const data = (await orders.driver.create(mounted, watch)).mountpoint
  const rootfs = join(orders.root, 'rootfs')
  const made = room.define(name, [
    `lxc.mount.entry = ${data} data none bind,create=dir 0 0`,
    `lxc.mount.entry = ${device} volume none bind,create=file 0 0`,
  ])
  execFileSync('/bin/mv', [made, rootfs])
  const config = join(room.folder, name, 'config')
  writeFileSync(config, readFileSync(config, 'utf8').replace(made, rootfs))
  writeFileSync(join(rootfs, COUNTER), WRITER)
  chmodSync(join(rootfs, COUNTER), 0o755)
  const tools: PipelineTools = { ...host.tools, volumes: () => volumes }
  const targets: string[] = [randomUUID(), randomUUID()]
  const [rootTarget = '', dataTarget = ''] = targets
  const spec = (changed: Partial<Spec> = {}): Spec => ({
    kind: 'instance.snapshot',
    place: { type: 'lxc', instance: name },
    hold: 'pause',
    parts: [
      part(orders.dataset, rootTarget),
      part(mounted, dataTarget),
      { kind: 'volume', place: { pool: 'a', volume: 'disk', snapshot: 's' } },
    ],
    ...changed,
  })
  /** Which turn each snapshot is of: those of one instant differ by one at most, the first being ahead. */
  const turns = async () => {
    const image = join(poolPath, 'volumes')
    const files = [
      join(orders.pool, rootTarget, 'rootfs/root/ticks'),
      join(orders.pool, dataTarget, 'ticks'),
      join(image, snapshotImageOf('disk', 's')),
    ]
    return files.map((path) => Number(readFileSync(path, 'latin1').split('\n')[0]))
  }
  const tick = () => Number(readFileSync(join(rootfs, 'root/ticks'), 'utf8'))
  return {
    ...{ orders, tools, volumes, spec, turns, targets, poolPath, snapshotMs: host.snapshotMs },
    start: () => lxc('start', name, '-d'),
    stop: () => lxc('stop', name, '-k'),
    async goesOn() {
      await until('it counts', () => existsSync(join(data, 'ticks')))
      const before = tick()
      await until('it counts on', () => tick() > before)
    },
    /** What is there of the targets. */
    litter: async () => [
      ...readdirSync(orders.pool).filter((one) => targets.includes(one)),
      ...((await volumes.findSnapshot('disk', 's')) === undefined ? [] : ['disk@s']),
    ],
  }
}

function part(source: string, target: string) {
  return { kind: 'dataset' as const, source: { pool: 'a', dataset: source }, target: { pool: 'a', dataset: target } }
}

function isOneInstant([root = 0, data = 0, volume = 0]: readonly number[]): boolean {
  return root >= data && data >= volume && root - volume <= 1 && volume > 100_000
}

it('a container is frozen until the snapshots of its datasets and volumes are taken, and no longer', async (t) => {
  const one = await counting(t, 'frozen')
  one.start()
  await one.goesOn()
  // What one of them takes longer would show in it, if anything moved.
  const slow: PipelineTools = {
    ...one.tools,
    volumes: () => ({
      ...one.volumes,
      async snapshot(request, given) {
        await pause(150)
        return one.volumes.snapshot(request, given)
      },
    }),
  }
  const order = { tools: slow, memory: memoryOf(), jobId: randomUUID() }
  const made = await one.orders.run(one.spec(), order)
  t.like(made, { consistency: 'frozen', held: { kind: 'pause', intact: true } })
  t.log(`held ${made.held?.ms} ms, of it 150 ms for the test`)
  const turns = await one.turns()
  t.true(isOneInstant(turns), turns.join(' '))
  t.is(stateOf('frozen'), 'RUNNING')
  await one.goesOn()
  t.deepEqual(
    made.parts.map(({ kind }) => kind),
    ['dataset', 'dataset', 'volume'],
  )

  // Said again, as after a crash behind its note, it is what it was.
  t.deepEqual(await one.orders.run(one.spec(), order), made)
  t.deepEqual(await one.turns(), turns)

  // A backup may read from them, instead of holding it once more.
  const snapshots = one
    .spec()
    .parts.flatMap((two) =>
      two.kind === 'dataset' ? [{ dataset: two.source.dataset, snapshot: two.target.dataset }] : [],
    )
  const { place } = one.spec()
  const point = one.orders.create([], { source: { kind: 'instance', place, hold: 'pause', snapshots } })
  const read = await one.orders.run(point, { tools: one.tools })
  t.like(read, { consistency: 'crash', problemCount: 0, held: undefined })
  const tree = untar(one.orders, [point.name])
  t.is(Number(readFileSync(join(tree, 'rootfs/root/ticks'), 'utf8')), turns[0] ?? -1)
  t.is(Number(readFileSync(join(tree, 'mounts/0/ticks'), 'utf8')), turns[1] ?? -1)
  t.is((await one.litter()).length, 3)

  const discard: SpecOf<'instance.discard'> = {
    kind: 'instance.discard',
    parts: [
      { kind: 'volume', place: { pool: 'a', volume: 'disk', snapshot: 's' } },
      ...one.targets.map((dataset) => ({ kind: 'dataset' as const, place: { pool: 'a', dataset } })),
    ],
  }
  t.deepEqual(await one.orders.run(discard, { tools: one.tools }), { removed: 3, error: null })
  t.deepEqual(await one.litter(), [])

  // A backup that wants it at the same time has it after that.
  const other = one.orders.create([], { source: { kind: 'instance', place, hold: 'pause' } })
  const [both, backup] = await Promise.all([
    one.orders.run(one.spec(), { tools: slow }),
    one.orders.run(other, { tools: slow }),
  ])
  t.like(both, { consistency: 'frozen', held: { intact: true } })
  t.like(backup, { consistency: 'crash', held: { intact: true } })
  await one.orders.run(discard, { tools: one.tools })

  // Nobody held it: each is of its own instant, and that is told.
  const unheld = await one.orders.run(one.spec({ hold: 'none' }), { tools: slow })
  t.is(unheld.consistency, 'crash')
  const apart = await one.turns()
  t.false(isOneInstant(apart), apart.join(' '))
  one.stop()
})

it('what fails, is cancelled or takes too long is taken back, and nobody else’s snapshot with it', async (t) => {
  const one = await counting(t, 'failing')
  one.start()
  await one.goesOn()
  const gone = { kind: 'volume' as const, place: { pool: 'a', volume: 'none', snapshot: 's' } }
  const [first, second] = one.spec().parts
  if (!first || !second) throw new Error('no parts')
  const failure = await failureOf(t, one.orders.run(one.spec({ parts: [first, second, gone] }), { tools: one.tools }))
  t.is(failure.code, 'not_found')
  t.deepEqual(await one.litter(), [])
  await one.goesOn()

  const stuck: PipelineTools = {
    ...one.tools,
    freezeMs: 5_000,
    volumes: () => ({
      ...one.volumes,
      snapshot: (_, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('aborted')))),
    }),
  }
  t.is((await failureOf(t, one.orders.run(one.spec(), { tools: stuck }))).code, 'timeout')
  t.deepEqual(await one.litter(), [])
  t.is(stateOf('failing'), 'RUNNING')
  const cancel = new AbortController()
  const cancelled = one.orders.run(one.spec(), {
    tools: { ...stuck, freezeMs: 60_000 },
    context: { signal: cancel.signal },
  })
  await until('it stands still', () => stateOf('failing') === 'FROZEN')
  cancel.abort()
  await failureOf(t, cancelled)
  t.deepEqual(await one.litter(), [])
  await one.goesOn()

  await one.volumes.snapshot({ volume: 'disk', snapshot: 's' }, watch)
  t.is((await failureOf(t, one.orders.run(one.spec(), { tools: one.tools }))).code, 'exists')
  t.deepEqual(await one.litter(), ['disk@s'])
  one.stop()
})

it('an agent that is killed while a container stands still lets it go, and the next one begins anew', async (t) => {
  const one = await counting(t, 'killed')
  one.start()
  await one.goesOn()
  const { state } = one.orders.points
  const journal = join(one.orders.outside, 'journal')
  writeFileSync(journal, '')
  const jobId = randomUUID()
  const order = { lxcPath: room.folder, state, poolPath: one.poolPath, journal, jobId, spec: one.spec() }
  const child = spawn(process.execPath, [HANGER, JSON.stringify(order)], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  await until('a snapshot is there', async () => (await one.litter()).length === 2)
  t.is(stateOf('killed'), 'FROZEN')
  child.kill('SIGKILL')
  await once(child, 'exit')
  await until('it is let go', () => stateOf('killed') === 'RUNNING')
  await one.goesOn()
  t.is((await one.litter()).length, 2)

  // As the next agent begins.
  const config = { lxcPath: room.folder, dockerSocket: '', state }
  t.is(await openInstances(config).thawLeft(), 0)
  const memory = memoryOf()
  await memory.stage(readFileSync(journal, 'utf8'))
  const made = await one.orders.run(one.spec(), { tools: one.tools, memory, jobId })
  t.is(made.consistency, 'frozen')
  const turns = await one.turns()
  t.true(isOneInstant(turns), turns.join(' '))
  one.stop()
})

if (lacks === undefined) {
  pipelineContract(test, {
    kind: 'instance.snapshot',
    async prepare(t) {
      const name = `contract-${randomUUID().slice(0, 8)}`
      const one = await counting(t, name)
      return {
        open: (jobId) => openWork(one.spec(), jobId, one.tools),
        observe: async () => [stateOf(name), await one.litter()],
      }
    },
  })

  it('one that is stopped stays so, and is of one instant', async (t) => {
    const one = await counting(t, 'stopped')
    mkdirSync(join(one.orders.root, 'rootfs/root'), { recursive: true })
    const made = await one.orders.run(one.spec(), { tools: one.tools })
    t.is(made.consistency, 'stopped')
    t.is(made.held, undefined)
    t.is(stateOf('stopped'), 'STOPPED')
  })
}
