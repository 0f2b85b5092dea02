import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ChunkMarks } from '../../agent/archive/image/chunk-marks.ts'
import type { ChangedRange, Volumes } from '../../agent/volumes/volumes.ts'
import { openZfsVolumes } from '../../agent/volumes/zfs/zfs-volumes.ts'
import { watch } from '../contracts/driver-contract.ts'
import { testUnless } from '../harness/system-packages.ts'
import { THOROUGHNESS } from '../harness/thoroughness.ts'
import { lacksZfs, makeRoom, type Room, tool } from './room.ts'

const MIB = 2 ** 20
const BLOCK = 4_096
const CHUNK = 2 ** 18
const inZfs = testUnless(lacksZfs())
let made: Room | undefined
const room = () => {
  made ??= makeRoom(2 ** 32)
  return made
}
test.after.always(() => made?.close())

async function place(...options: readonly string[]): Promise<Volumes> {
  const root = `${room().pool}/c${randomUUID().slice(0, 8)}`
  tool('zfs', 'create', ...options, root)
  return openZfsVolumes(root)
}

function put(device: string, at: number, bytes: Buffer): void {
  const fd = openSync(device, 'r+')
  writeSync(fd, bytes, 0, bytes.length, at)
  fsyncSync(fd)
  closeSync(fd)
}

function read(device: string, at: number, bytes: number): Buffer<ArrayBuffer> {
  const fd = openSync(device, 'r')
  const room = Buffer.alloc(bytes)
  const have = readSync(fd, room, 0, bytes, at)
  closeSync(fd)
  return room.subarray(0, have)
}

const discard = (device: string, at: number, bytes: number) =>
  void tool('blkdiscard', '-o', String(at), '-l', String(bytes), device)

interface Told {
  readonly reason: string | undefined
  readonly ranges: readonly ChangedRange[]
}

async function told(volumes: Volumes, baseId: string, id: string): Promise<Told> {
  const ranges: ChangedRange[] = []
  const between = { volume: 'disk', baseId, id }
  const reason = await volumes.bases?.changes(between, (range) => ranges.push(range), watch.signal)
  return { reason, ranges }
}

const covers = (ranges: readonly ChangedRange[], at: number) =>
  ranges.some(({ offset, bytes }) => offset <= at && at < offset + bytes)

/** A random change, of which some change nothing. */
function change(device: string, sizeBytes: number): void {
  const blocks = randomInt(1, 64)
  const at = BLOCK * randomInt(0, sizeBytes / BLOCK - blocks)
  const kinds: readonly (() => void)[] = [
    () => put(device, at, randomBytes(BLOCK * blocks)),
    () => put(device, at, randomBytes(BLOCK)),
    // Compressed so far that it lies within its pointer.
    () => put(device, at, Buffer.alloc(BLOCK, randomInt(1, 255))),
    () => put(device, at, Buffer.alloc(BLOCK * blocks)),
    () => put(device, at, read(device, at, BLOCK * blocks)),
    () => discard(device, at, BLOCK * blocks),
    () => discard(device, at - (at % MIB), MIB),
    () => discard(device, sizeBytes - 2 * MIB, 2 * MIB),
  ]
  kinds[randomInt(0, kinds.length)]?.()
}

/** Every block that differs lies in a range that was told of, and every chunk in which one does is to be read. */
async function requireSuperset(
  t: ExecutionContext,
  { before, now, ranges }: { readonly before: Buffer; readonly now: Buffer; readonly ranges: readonly ChangedRange[] },
): Promise<void> {
  const marks = ChunkMarks.of({ sizeBytes: now.length, chunkBytes: CHUNK })
  if (marks === undefined) return t.fail()
  for (const range of ranges) marks.mark(range)
  const holds = (image: Buffer, number: number) =>
    image.subarray(number * CHUNK, (number + 1) * CHUNK).some((byte) => byte !== 0)
  async function* held() {
    for (let number = 0; number * CHUNK < before.length; number += 1) if (holds(before, number)) yield number
  }
  const chunks = new Set(await marks.changed({ sizeBytes: before.length, held }))
  const grown = Buffer.concat([before, Buffer.alloc(now.length - before.length)])
  const missed: number[] = []
  for (let at = 0; at < now.length; at += BLOCK) {
    if (now.subarray(at, at + BLOCK).equals(grown.subarray(at, at + BLOCK))) continue
    if (!covers(ranges, at) || !chunks.has(Math.floor(at / CHUNK))) missed.push(at)
  }
  t.deepEqual(missed, [])
}

async function changesOften(t: ExecutionContext, volumes: Volumes, rounds: number): Promise<void> {
  let { device, sizeBytes } = await volumes.create({ volume: 'disk', sizeBytes: 24 * MIB, createParent: false }, watch)
  await volumes.settle(
    [(await volumes.find('disk')) ?? t.fail()].filter((one) => typeof one === 'object'),
    watch,
  )
  put(device, 0, randomBytes(6 * MIB))
  let [base, before]: [string, Buffer] = ['', Buffer.alloc(0)]
  for (let round = 0; round < rounds; round += 1) {
    for (let changes = randomInt(0, 8); round > 0 && changes > 0; changes -= 1) change(device, sizeBytes)
    if (round % 4 === 3)
      sizeBytes = (await volumes.resize({ volume: 'disk', sizeBytes: sizeBytes + MIB }, watch)).sizeBytes
    const id = randomUUID()
    const capture = await volumes.capture({ volume: 'disk', id }, watch)
    const now = read(capture.device, 0, sizeBytes)
    if (base !== '') {
      const { reason, ranges } = await told(volumes, base, id)
      t.is(reason, undefined)
      await requireSuperset(t, { before, now, ranges })
    }
    t.true(await volumes.bases?.keep({ volume: 'disk', id }))
    t.true(await volumes.bases?.has({ volume: 'disk', id }))
    t.is(await volumes.findCapture({ volume: 'disk', id }), undefined)
    if (base !== '') await volumes.dropCapture({ volume: 'disk', id: base })
    ;[base, before] = [id, now]
  }
  await volumes.destroy('disk', watch)
}

for (const [what, ...options] of [
  ['compressed', '-o', 'compression=lz4'],
  ['as it is', '-o', 'compression=off'],
  ['compressed by zstd, with other checksums', '-o', 'compression=zstd', '-o', 'checksum=sha512'],
] as const) {
  inZfs(`what differs between two captures of a volume is told of: ${what}`, async (t) => {
    await changesOften(t, await place(...options), 6 * THOROUGHNESS)
  })
}

inZfs('what differs between two captures of a volume is told of: encrypted', async (t) => {
  const key = join(room().directory, 'key')
  writeFileSync(key, randomBytes(32))
  const encryption = ['encryption=aes-256-gcm', 'keyformat=raw', `keylocation=file://${key}`]
  await changesOften(t, await place(...encryption.flatMap((one) => ['-o', one])), 5 * THOROUGHNESS)
})

inZfs('of a sparse volume of a TiB hardly more is read than what changed', async (t) => {
  const volumes = await place()
  const sizeBytes = 2 ** 40
  const made = await volumes.create({ volume: 'disk', sizeBytes, createParent: false }, watch)
  await volumes.settle([made], watch)
  const { device } = made
  const chunkBytes = 2 ** 20
  const places = Array.from({ length: 40 }, () => BLOCK * randomInt(0, sizeBytes / BLOCK))
  for (const at of places) put(device, at, randomBytes(BLOCK))
  const [one, two] = [randomUUID(), randomUUID()]
  await volumes.capture({ volume: 'disk', id: one }, watch)
  await volumes.bases?.keep({ volume: 'disk', id: one })
  const [written, discarded] = [[...places.slice(0, 10), 5 * 2 ** 30, sizeBytes - BLOCK], places.slice(10, 20)]
  for (const at of written) put(device, at, randomBytes(BLOCK))
  for (const at of discarded) discard(device, at - (at % 16_384), 16_384)
  await volumes.capture({ volume: 'disk', id: two }, watch)
  const { reason, ranges } = await told(volumes, one, two)
  t.is(reason, undefined)
  const marks = ChunkMarks.of({ sizeBytes, chunkBytes })
  for (const range of ranges) marks?.mark(range)
  const chunksOf = (some: readonly number[]) =>
    [...new Set(some.map((at) => Math.floor(at / chunkBytes)))].sort((a, b) => a - b)
  async function* held() {
    yield* chunksOf(places)
  }
  const changed = [...((await marks?.changed({ sizeBytes, held })) ?? [])]
  t.deepEqual(
    chunksOf([...written, ...discarded]).filter((number) => !changed.includes(number)),
    [],
  )
  // Those of the point below that lie where whole parts of the volume are told of as never written.
  t.true(changed.length <= written.length + places.length, `${changed.length}`)
  await volumes.dropCapture({ volume: 'disk', id: two })
  await volumes.destroy('disk', watch)
})

inZfs('a base holds nothing back, and outlives a rollback to what came after it', async (t) => {
  const volumes = await place()
  const made = await volumes.create({ volume: 'disk', sizeBytes: 4 * MIB, createParent: false }, watch)
  await volumes.settle([made], watch)
  const { device } = made
  const ids = Array.from({ length: 5 }, () => randomUUID())
  const [first = '', second = '', third = '', fourth = '', fifth = ''] = ids
  const capture = (id: string, snapshot?: string) => volumes.capture({ volume: 'disk', id, snapshot }, watch)
  const keep = (id: string) => volumes.bases?.keep({ volume: 'disk', id })
  const rollBack = async (snapshot: string) => {
    await using staged = await volumes.stage({ volume: 'disk', content: { snapshot }, createParent: false }, watch)
    await staged.put('over', watch)
  }
  const reasonOf = async (base: string, id: string) => (await told(volumes, base, id)).reason
  await volumes.snapshot({ volume: 'disk', snapshot: 'early' }, watch)
  put(device, 0, randomBytes(BLOCK))
  // Of a snapshot that a client made, and deletes.
  await volumes.snapshot({ volume: 'disk', snapshot: 'mine' }, watch)
  await capture(first, 'mine')
  t.true(await keep(first))
  await volumes.destroySnapshot('disk', 'mine', watch)
  t.is(await volumes.findSnapshot('disk', 'mine'), undefined)
  put(device, MIB, randomBytes(BLOCK))
  await volumes.snapshot({ volume: 'disk', snapshot: 'late' }, watch)
  put(device, 2 * MIB, randomBytes(BLOCK))
  await rollBack('late')
  put(device, 3 * MIB, randomBytes(BLOCK))
  await capture(second)
  const { reason, ranges } = await told(volumes, first, second)
  t.is(reason, undefined)
  for (const at of [MIB, 3 * MIB]) t.true(ranges.some(({ offset, isWritten }) => offset === at && isWritten))
  t.true(await keep(second))
  // What the volume was until then stays for its sake, with the base.
  await volumes.snapshot({ volume: 'disk', snapshot: 'stays' }, watch)
  await rollBack('early')
  await capture(third)
  t.regex((await reasonOf(second, third)) ?? '', /rolled back/)
  t.is(await reasonOf(third, third), 'what was kept of the point below is gone')
  // The same snapshot twice.
  t.true(await keep(third))
  await capture(fourth, 'late')
  t.true(await keep(fourth))
  await capture(fifth, 'late')
  t.deepEqual(await told(volumes, fourth, fifth), { reason: undefined, ranges: [] })
  for (const snapshot of ['stays', 'late', 'early']) await volumes.destroySnapshot('disk', snapshot, watch)
  // With a capture of a snapshot that is gone, and bases.
  await volumes.destroy('disk', watch)
  for (const id of ids) await volumes.dropCapture({ volume: 'disk', id })
  t.deepEqual(await volumes.list('', 10), [])
  const left = tool('zfs', 'list', '-H', '-r', '-t', 'all', '-o', 'name', room().pool).trim().split('\n')
  t.deepEqual(
    left.filter((name) => /[@#]|\/\./.test(name)),
    [],
  )
})
