import { hash, randomBytes } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext, type TestFn } from 'ava'
import { LocalSink } from '../agent/archive/local-sink.ts'
import { writeArchive } from '../agent/archive/write-archive.ts'
import type { ErrorCode } from '../shared/errors.ts'
import type { JobKind, JobSpec } from '../shared/job-spec.ts'
import type { PointRef } from '../shared/point-spec.ts'
import type { LunConnection } from '../shared/volume-spec.ts'
import { memoryOf, pipelineContract } from './contracts/pipeline-contract.ts'
import { calm } from './harness/archive.ts'
import { FaultProxy } from './harness/fault-proxy.ts'
import { lacksLuns, lunRoom } from './harness/lun-room.ts'
import { failureOf, readable, refOf } from './harness/point-orders.ts'
import { testUnless } from './harness/system-packages.ts'
import { until } from './harness/until.ts'

const lacking = lacksLuns()
const onLuns = testUnless(lacking)
const MIB = 2 ** 20
const CHUNK = 2 ** 18
const SIZE = 24 * MIB

function put(device: string, chunk: number, bytes: Buffer): void {
  const fd = openSync(device, 'r+')
  writeSync(fd, bytes, 0, bytes.length, chunk * CHUNK)
  closeSync(fd)
}

onLuns('a LUN is backed up whole and by what differs, and any LUN becomes what it was', async (t) => {
  const room = await lunRoom(t)
  const [disk, other, small] = ['disk', 'other', 'small'].map((name) => join(room.folder, name)) as [
    string,
    string,
    string,
  ]
  writeFileSync(disk, Buffer.alloc(SIZE))
  for (let n = 0; n < 30; n += 1) put(disk, 3 * n, randomBytes(CHUNK))
  writeFileSync(other, randomBytes(SIZE + 2 * MIB))
  writeFileSync(small, randomBytes(MIB))
  await room.lend({ disk, other, small })
  const create = (bases: readonly PointRef[] = [], connection = room.connection('disk'), sizeBytes = SIZE) =>
    room.create(bases, { source: { kind: 'lun', connection, sizeBytes }, about: { volume: 'disk' } })

  const full = create()
  const first = await room.order(full)
  t.like(first, { full: true, consistency: 'crash', problemCount: 0 })
  const was = readFileSync(disk)
  put(disk, 3, randomBytes(700))
  put(disk, 6, Buffer.alloc(CHUNK))
  const increment = create([refOf(full)])
  const second = await room.order(increment)
  t.like(second, { full: false, problemCount: 0 })
  t.true(second.sourceBytes >= CHUNK && second.sourceBytes < CHUNK + 1000, String(second.sourceBytes))
  const refs = [refOf(full), refOf(increment)]
  await room.order({ kind: 'point.verify', ...readable(room, refs) })

  const restore = (chain: readonly PointRef[], name = 'other', sizeBytes = SIZE + 2 * MIB) =>
    ({ kind: 'lun.restore', ...readable(room, chain), connection: room.connection(name), sizeBytes }) as const
  const memory = memoryOf()
  const over = restore(refs)
  const { bytes } = await room.order(over, { memory })
  t.is(bytes, 29 * CHUNK)
  t.true(readFileSync(other).equals(Buffer.concat([readFileSync(disk), Buffer.alloc(2 * MIB)])))
  t.true(statSync(other).blocks * 512 < 32 * CHUNK, 'what is zeros takes no room')
  put(other, 0, randomBytes(CHUNK))
  t.deepEqual(await room.order(over, { memory }), { bytes }, 'an earlier run wrote all of it')
  await room.order(restore(refs.slice(0, 1)))
  t.true(readFileSync(other).subarray(0, SIZE).equals(was))

  // A target that tells neither holes nor takes blocks back.
  await room.change('disk', 'unit', 'thin_provisioning=0')
  await room.change('other', 'unit', 'thin_provisioning=0')
  const nothing = create(refs)
  t.like(await room.order(nothing), { full: false, sourceBytes: 0, problemCount: 0 })
  writeFileSync(other, randomBytes(SIZE + 2 * MIB))
  await room.order(restore([...refs, refOf(nothing)]))
  t.true(readFileSync(other).equals(Buffer.concat([readFileSync(disk), Buffer.alloc(2 * MIB)])))

  // What tgtd cannot read of a file that has become too short are medium errors.
  const now = readFileSync(disk)
  truncateSync(disk, SIZE - 10 * CHUNK)
  const partial = create(refs)
  const { problemCount, problems } = await room.order(partial)
  t.is(problemCount, 10)
  t.deepEqual(problems.at(-1), { path: 'chunks/0000005f', reason: 'unreadable' })
  writeFileSync(disk, now)
  const mended = create([...refs, refOf(partial)])
  t.like(await room.order(mended), { full: false, problemCount: 0 })
  await room.order(restore([...refs, refOf(partial), refOf(mended)]))
  t.true(readFileSync(other).subarray(0, SIZE).equals(now))

  const fails = async (code: ErrorCode, running: Promise<unknown>) => t.is((await failureOf(t, running)).code, code)
  await fails('conflict', room.order(restore(refs, 'small', MIB)))
  await fails('refused', room.order(create([], room.connection('disk'), SIZE + MIB)))
  await fails('refused', room.order(create(), { secret: 'wrongwrongwrong' }))
  await fails('refused', room.order(create([], room.connection('disk', { chap: null }))))
  await fails('not_found', room.order(create([], room.connection('absent'))))
  await fails('not_found', room.order(create([], room.connection('disk', { lun: 7 }))))
  const at = (...portals: string[]): LunConnection => room.connection('disk', { portals })
  await fails('refused', room.order(create([], at('169.254.169.254:3260'))))
  await fails('invalid', room.order(create([], at('127.0.0.1:0'))))
  t.like(await room.order(create([], at('127.0.0.1:1', '169.254.169.254', `localhost:${room.port},1`))), { full: true })
  // A target that sends logins elsewhere is followed to where the order leads, and nowhere else.
  const away = await lunRoom(t, '127.0.0.2')
  await away.lend({ disk })
  const elsewhere = ['RedirectAddress=127.0.0.2', `RedirectPort=${away.port}`, 'RedirectReason=Temporary']
  await room.change('disk', 'target', ...elsewhere)
  await fails('refused', room.order(create()))
  t.like(await room.order(create([], at(room.portal, away.portal))), { full: true })
  room.points.setListeners([{ host: '127.0.0.1', port: room.port }])
  await fails('refused', room.order(create()))
  t.is(readdirSync(room.backups).filter((name) => name.endsWith('Z')).length, 7)
})

onLuns('a connection that is lost is made again; a target that stays away leaves no point', async (t) => {
  const room = await lunRoom(t)
  const [disk, other] = ['disk', 'other'].map((name) => join(room.folder, name)) as [string, string]
  writeFileSync(disk, randomBytes(SIZE))
  writeFileSync(other, randomBytes(SIZE))
  await room.lend({ disk, other })
  const proxy = await FaultProxy.start(room.port)
  t.teardown(() => proxy.close())
  const portals = [`127.0.0.1:${proxy.port}`]
  const connection = (name: string) => room.connection(name, { portals })

  // A command to read is 48 bytes long, and a login some 1,200.
  proxy.set({ kind: 'cut', afterBytes: 4_000 })
  const create = () => room.create([], { source: { kind: 'lun', connection: connection('disk'), sizeBytes: SIZE } })
  const order = create()
  t.like(await room.order(order), { full: true, problemCount: 0 })
  t.is(proxy.cuts, 1)
  proxy.set({ kind: 'cut', afterBytes: 9 * MIB })
  const chain = [refOf(order)]
  await room.order({ kind: 'lun.restore', ...readable(room, chain), connection: connection('other'), sizeBytes: SIZE })
  t.is(proxy.cuts, 2)
  t.true(readFileSync(other).equals(readFileSync(disk)))

  // A target that is there and says nothing more does not keep an order that nobody wants.
  proxy.set({ kind: 'stall', afterBytes: 4_000 })
  const [cancel, silent] = [new AbortController(), create()]
  const running = room.order(silent, { signal: cancel.signal })
  await until('it says nothing more', () => proxy.stalled > 0)
  cancel.abort()
  t.is((await failureOf(t, running)).code, 'cancelled')
  proxy.dropAll()

  proxy.set({ kind: 'cut', afterBytes: 4_000, forGood: true })
  const home = join(room.folder, 'points')
  mkdirSync(home)
  const lun = { ...room.login('disk', SIZE, portals), pausesMs: [0, 10] }
  const request = {
    ...{ subject: 'backup', sink: new LocalSink(home, 'p'), scratch: room.folder, compression: 'none' as const },
    image: { lun, sizeBytes: SIZE, chunkBytes: CHUNK },
  }
  await t.throwsAsync(writeArchive(request, calm), { code: 'unavailable' })
  t.deepEqual(readdirSync(home), [])
  t.is(readdirSync(room.backups).filter((name) => name.endsWith('Z')).length, 1)
})

const SMALL = 2 * MIB

/** Of what is kept for the tests below. */
const cleanUps: (() => unknown)[] = []
test.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})
let kept: ReturnType<typeof smallRoom> | undefined

async function smallRoom() {
  const room = await lunRoom({ teardown: (act: () => unknown) => void cleanUps.push(act) })
  const [disk, other] = ['disk', 'other'].map((name) => join(room.folder, name)) as [string, string]
  writeFileSync(disk, randomBytes(SMALL))
  writeFileSync(other, Buffer.alloc(SMALL))
  await room.lend({ disk, other })
  const source = { kind: 'lun', connection: room.connection('disk'), sizeBytes: SMALL } as const
  const first = room.create([], { source })
  await room.order(first)
  return { ...room, source, chain: [refOf(first)], disk, other }
}

function prepare(specOf: (room: Awaited<ReturnType<typeof smallRoom>>) => JobSpec) {
  return async (t: ExecutionContext) => {
    if (lacking !== undefined) {
      t.log(lacking)
      return undefined
    }
    kept ??= smallRoom()
    const room = await kept
    const spec = specOf(room)
    const observe = () => ({
      points: readdirSync(room.backups).toSorted(),
      other: hash('sha256', readFileSync(room.other)),
    })
    return { open: (jobId: string) => room.open(spec, jobId), observe }
  }
}

pipelineContract<JobKind>(test.serial as TestFn, {
  kind: 'point.create',
  title: 'point.create of a LUN',
  prepare: prepare(({ create, source, chain }) => create(chain, { source })),
})

pipelineContract<JobKind>(test.serial as TestFn, {
  kind: 'lun.restore',
  prepare: prepare((room) => ({
    kind: 'lun.restore',
    ...readable(room, room.chain),
    connection: room.connection('other'),
    sizeBytes: SMALL,
  })),
})
