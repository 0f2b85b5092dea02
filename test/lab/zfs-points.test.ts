import { createHash, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import test from 'ava'
import type { PipelineTools } from '../../agent/pipelines/pipeline.ts'
import type { Volumes } from '../../agent/volumes/volumes.ts'
import { openZfsVolumes } from '../../agent/volumes/zfs/zfs-volumes.ts'
import type { JobKind, JobSpec, ResultOf } from '../../shared/job-spec.ts'
import type { PointRef } from '../../shared/point-spec.ts'
import { watch } from '../contracts/driver-contract.ts'
import { pointOrders, readable, refOf, SERIES } from '../harness/point-orders.ts'
import { testUnless } from '../harness/system-packages.ts'
import { lacksZfs, makeRoom, type Room, tool } from './room.ts'

const MIB = 2 ** 20
const SIZE = 16 * MIB
const inZfs = testUnless(lacksZfs())
let room: Room | undefined
test.after.always(() => room?.close())

function put(device: string, at: number, bytes: Buffer): void {
  const fd = openSync(device, 'r+')
  writeSync(fd, bytes, 0, bytes.length, at)
  fsyncSync(fd)
  closeSync(fd)
}

const hashOf = (device: string) => createHash('sha256').update(readFileSync(device)).digest('hex')

inZfs(
  'points of a zvol are made, completed, rehearsed, restored beside it and over it, and leave nothing in the pool',
  async (t) => {
    room = makeRoom()
    const root = `${room.pool}/points`
    tool('zfs', 'create', root)
    const orders = await pointOrders(t)
    const made = await openZfsVolumes(root)
    const told: (string | undefined)[] = []
    const volumes: Volumes = {
      ...made,
      ...(made.bases && {
        bases: {
          ...made.bases,
          async changes(...asked) {
            told.push(await made.bases?.changes(...asked))
            return told.at(-1)
          },
        },
      }),
    }
    const listed = (type: string) => tool('zfs', 'list', '-H', '-r', '-t', type, '-o', 'name', root).trim().split('\n')
    const tools: PipelineTools = { ...orders.tools, volumes: () => volumes }
    // as: the kind's own pipeline answers so
    const run = <Spec extends JobSpec>(spec: Spec) =>
      orders.run<JobKind>(spec, { tools }) as Promise<ResultOf<Spec['kind']>>
    const place = { pool: 'a', volume: 'disk' }
    const disk = await volumes.create({ volume: 'disk', sizeBytes: SIZE, createParent: false }, watch)
    await volumes.settle([disk], watch)
    const { device } = disk
    const [refs, hashes]: [PointRef[], string[]] = [[], []]
    const addPoint = async () => {
      const order = orders.create(refs, { source: { kind: 'volume', place } })
      const made = await run(order)
      refs.push(refOf(order))
      hashes.push(hashOf(device))
      // Of it nothing is left but the moment that it was taken at.
      t.deepEqual(listed('bookmark'), [`${root}/disk#.point-${order.pointId}`])
      t.deepEqual(listed('volume'), [`${root}/disk`])
      t.true(tools.points.own.has(order.pointId, 'base'))
      return made
    }
    for (let round = 0; round < 2; round += 1) {
      put(device, round * MIB, randomBytes(round === 0 ? 4 * MIB : 1_024))
      const { full, sourceBytes } = await addPoint()
      t.is(full, round === 0)
      t.true(sourceBytes >= (round === 0 ? 4 : 0.25) * MIB && sourceBytes < (round === 0 ? 4.1 : 0.3) * MIB)
    }
    // ZFS told what changed, and only that was read.
    t.deepEqual(told, [undefined])
    await run({ kind: 'point.rehearse', ...readable(orders, refs), pool: 'a' })
    const restore = { kind: 'volume.restore', ...readable(orders, refs), createParent: true } as const
    const beside = await run({ ...restore, mode: 'new', place: { pool: 'a', volume: 'back/disk' } })
    t.is(hashOf(beside.volume.device), hashes[1] ?? '')
    await volumes.snapshot({ volume: 'disk', snapshot: 'kept' }, watch)
    put(device, 0, randomBytes(MIB))
    const over = await run({ ...restore, ...readable(orders, refs.slice(0, 1)), mode: 'over', place })
    t.is(hashOf(over.volume.device), hashes[0] ?? '')
    const rolledBack = await run({ kind: 'volume.rollback', place: { ...place, snapshot: 'kept' }, safety: 'before' })
    t.is(hashOf(rolledBack.volume.device), hashes[1] ?? '')
    const order = orders.create(refs, { source: { kind: 'volume', place } })
    const { full, sourceBytes } = await run(order)
    // The snapshot is younger than the last point: ZFS knows that nothing came between, through all that was replaced since.
    t.deepEqual([told, full, sourceBytes < 1_024], [[undefined, undefined], false, true])
    refs.push(refOf(order))
    for (const { id, name } of refs.toReversed())
      await run({ kind: 'point.delete', target: orders.target, series: SERIES, pointId: id, name })
    for (const snapshot of ['kept', 'before']) await run({ kind: 'volume.delete', place: { ...place, snapshot } })
    for (const volume of ['disk', 'back/disk']) await run({ kind: 'volume.delete', place: { pool: 'a', volume } })
    const left = tool('zfs', 'list', '-H', '-r', '-t', 'all', '-o', 'name', root).trim().split('\n')
    t.deepEqual(left, [root, `${root}/back`])
  },
)
